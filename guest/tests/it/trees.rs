//! Random trees, and everything about a tree that a backup keeps.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::hash::{DefaultHasher, Hasher};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use fastrand::Rng;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};

/// What must be the same afterwards, by path.
pub(crate) type Contents = BTreeMap<OsString, String>;

/// Reads a tree: kinds, modes, owners, times, targets, bytes, and which names are the same file.
pub(crate) fn contents(root: &Path) -> Contents {
    let mut all = Contents::new();
    let mut inodes = HashMap::new();
    read(root, OsStr::new(""), &mut inodes, &mut all);
    all
}

fn read(dir: &Path, prefix: &OsStr, inodes: &mut HashMap<u64, OsString>, into: &mut Contents) {
    let mut entries: Vec<_> = fs::read_dir(dir).unwrap().map(Result::unwrap).collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = Path::new(prefix).join(entry.file_name()).into_os_string();
        let meta = fs::symlink_metadata(entry.path()).unwrap();
        let content = if meta.is_symlink() {
            format!("to {:?}", fs::read_link(entry.path()).unwrap())
        } else if meta.is_dir() {
            "directory".to_owned()
        } else {
            let first = inodes.entry(meta.ino()).or_insert_with(|| path.clone());
            let mut hash = DefaultHasher::new();
            hash.write(&fs::read(entry.path()).unwrap());
            let hash = hash.finish();
            format!("{} bytes {hash:x} as {first:?}", meta.len())
        };
        // A link has no mode of its own.
        let mode = if meta.is_symlink() {
            0
        } else {
            meta.mode() & 0o7777
        };
        let (owner, group) = (meta.uid(), meta.gid());
        let (secs, nanos) = (meta.mtime(), meta.mtime_nsec());
        let about = format!("{mode:o} {owner}:{group} {secs}.{nanos:09} {content}");
        if meta.is_dir() {
            read(&entry.path(), &path, inodes, into);
        }
        into.insert(path, about);
    }
}

/// Compares two trees and names the first entry that differs.
pub(crate) fn assert_same(found: &Contents, expected: &Contents, about: &str) {
    for path in expected.keys().chain(found.keys()) {
        assert_eq!(found.get(path), expected.get(path), "{about}: {path:?}");
    }
}

/// Adds up to `count` entries below `root`; owners are mixed where the test may give files away.
pub(crate) fn grow(rng: &mut Rng, root: &Path, count: usize) {
    let root_user = rustix::process::geteuid().is_root();
    let mut dirs = vec![root.to_owned()];
    let mut files: Vec<PathBuf> = Vec::new();
    let mut made = Vec::new();
    for _ in 0..rng.usize(0..=count) {
        let path = dirs[rng.usize(..dirs.len())].join(name(rng));
        if fs::symlink_metadata(&path).is_ok() || path.as_os_str().len() > 3000 {
            continue;
        }
        match rng.u32(..10) {
            0..=3 => {
                file(rng, &path);
                files.push(path.clone());
            }
            4..=6 => {
                fs::create_dir(&path).unwrap();
                dirs.push(path.clone());
            }
            7..=8 => symlink(target(rng, root), &path).unwrap(),
            _ => match rng.choice(&files) {
                Some(file) => fs::hard_link(file, &path).unwrap(),
                None => continue,
            },
        }
        made.push(path);
    }
    // What is in a directory changes its time, so the deepest come first.
    for path in made.iter().rev() {
        if root_user && rng.bool() {
            lchown(path, Some(rng.u32(..70_000)), Some(rng.u32(..70_000))).unwrap();
        }
        if !fs::symlink_metadata(path).unwrap().is_symlink() {
            // Without root, what its owner may not read cannot be saved.
            let readable = if root_user { 0 } else { 0o700 };
            let mode = rng.u32(..0o10000) | readable;
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        }
        set_time(
            path,
            rng.i64(-5_000_000_000..5_000_000_000),
            rng.i64(0..1_000_000_000),
        );
    }
}

/// A name of any bytes: words, other alphabets, no text at all, and what tools stumble over.
fn name(rng: &mut Rng) -> OsString {
    const ODD: [&str; 9] = [
        "-rf",
        " ",
        "a\nb",
        "..x",
        "...",
        "\\",
        "'\"`$(x)",
        "%2e%2e",
        "lost+found.tar.zst",
    ];
    let bytes: Vec<u8> = match rng.u32(..6) {
        0 => rng.choice(ODD).unwrap().into(),
        1 => "ключ-名前-é".into(),
        2 => vec![b'n'; rng.usize(90..=255)],
        3 => (0..rng.usize(1..=255)).map(|_| rng.u8(1..)).collect(),
        _ => (0..rng.usize(1..20))
            .map(|_| rng.alphanumeric() as u8)
            .collect(),
    };
    let plain = bytes
        .into_iter()
        .map(|byte| if byte == b'/' { b'_' } else { byte });
    OsString::from_vec(plain.collect())
}

fn file(rng: &mut Rng, path: &Path) {
    let mut file = File::create(path).unwrap();
    // Around 1 MiB the guest reads in another way.
    let size = match rng.u32(..400) {
        0 => 1 << 20,
        1 => (1 << 20) + rng.usize(1..1000),
        2..=40 => 0,
        _ => rng.usize(..2000),
    };
    let mut bytes = vec![0; size];
    rng.fill(&mut bytes);
    if rng.u32(..8) == 0 {
        // A hole in front of it, and sometimes one behind.
        let hole = rng.u64(..40_000);
        file.seek(SeekFrom::Start(hole)).unwrap();
        file.write_all(&bytes).unwrap();
        file.set_len(hole + size as u64 + rng.u64(..3) * 9000)
            .unwrap();
    } else {
        file.write_all(&bytes).unwrap();
    }
}

/// Where a link leads: beside it, outside, nowhere, or to a name that is no text.
fn target(rng: &mut Rng, root: &Path) -> OsString {
    match rng.u32(..4) {
        0 => "/etc/passwd".into(),
        1 => root.as_os_str().to_owned(),
        2 => OsString::from_vec((0..rng.usize(1..300)).map(|_| rng.u8(1..)).collect()),
        _ => "../..".into(),
    }
}

pub(crate) fn set_time(path: &Path, secs: i64, nanos: i64) {
    let time = Timespec {
        tv_sec: secs,
        tv_nsec: nanos,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A generator and its seed, which WSMAN_TEST_SEED repeats.
pub(crate) fn seeded() -> (Rng, u64) {
    let seed = std::env::var("WSMAN_TEST_SEED")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| fastrand::u64(..));
    eprintln!("WSMAN_TEST_SEED={seed}");
    (Rng::with_seed(seed), seed)
}

/// Bytes that do not compress.
pub(crate) fn noise(rng: &mut Rng, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    rng.fill(&mut bytes);
    bytes
}
