//! Trees survive the way through an archive byte for byte; archives that reach outside are refused.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use tar::{Builder, EntryType, Header};

use super::read::extract;
use super::write::write;
use super::{Counted, Limits};

/// Everything that must be the same afterwards, by path.
fn snapshot(root: &Path) -> BTreeMap<Vec<u8>, String> {
    fn add(dir: &Path, prefix: &[u8], into: &mut BTreeMap<Vec<u8>, String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let mut path = prefix.to_vec();
            path.extend_from_slice(entry.file_name().as_bytes());
            let meta = fs::symlink_metadata(entry.path()).unwrap();
            let content = if meta.is_symlink() {
                format!("{:?}", fs::read_link(entry.path()).unwrap())
            } else if meta.is_dir() {
                String::new()
            } else {
                format!("{:?} x{}", fs::read(entry.path()).unwrap(), meta.nlink())
            };
            let mode = if meta.is_symlink() { 0 } else { meta.mode() };
            let about = (
                mode,
                meta.uid(),
                meta.gid(),
                meta.mtime(),
                meta.mtime_nsec(),
            );
            into.insert(path.clone(), format!("{about:?} {content}"));
            if meta.is_dir() {
                path.push(b'/');
                add(&entry.path(), &path, into);
            }
        }
    }
    let mut all = BTreeMap::new();
    add(root, b"", &mut all);
    all
}

fn set_mtime(path: &Path, secs: i64, nanos: i64) {
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

fn archive(root: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(root, &mut bytes, &Limits::default()).unwrap();
    bytes
}

fn restored(bytes: &[u8]) -> (tempfile::TempDir, Counted) {
    let into = tempfile::tempdir().unwrap();
    let counted = extract(bytes, into.path(), &Limits::default()).unwrap();
    (into, counted)
}

#[derive(Clone, Debug)]
enum Node {
    File(Vec<u8>),
    Dir,
    Link(Vec<u8>),
    /// To the file before it, if there is one.
    HardLink,
}

/// A name that is no word and often not UTF-8.
fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(
        any::<u8>().prop_filter("no separator", |b| !matches!(b, 0 | b'/')),
        1..80,
    )
    .prop_filter("a name", |n| n != b"." && n != b"..")
}

fn node() -> impl Strategy<Value = Node> {
    prop_oneof![
        4 => vec(any::<u8>(), 0..2000).prop_map(Node::File),
        3 => Just(Node::Dir),
        2 => vec(1u8..=255, 1..150).prop_map(Node::Link),
        1 => Just(Node::HardLink),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_trees_come_back_byte_for_byte(
        nodes in vec((name(), node(), any::<prop::sample::Index>(), 0u32..0o10000, -5_000_000_000i64..5_000_000_000, 0i64..1_000_000_000), 0..25)
    ) {
        let tree = tempfile::tempdir().unwrap();
        let mut dirs = vec![tree.path().to_owned()];
        let mut made = Vec::new();
        let mut last_file = None;
        for (name, node, at, mode, secs, nanos) in nodes {
            let path = at.get(&dirs).join(OsStr::from_bytes(&name));
            if fs::symlink_metadata(&path).is_ok() || path.as_os_str().len() > 3000 {
                continue;
            }
            match node {
                Node::File(content) => {
                    fs::write(&path, content).unwrap();
                    last_file = Some(path.clone());
                }
                Node::Dir => {
                    fs::create_dir(&path).unwrap();
                    dirs.push(path.clone());
                }
                Node::Link(target) => symlink(OsStr::from_bytes(&target), &path).unwrap(),
                Node::HardLink => match &last_file {
                    Some(file) => fs::hard_link(file, &path).unwrap(),
                    None => continue,
                },
            }
            made.push((path, mode, secs, nanos));
        }
        for (path, mode, secs, nanos) in made.iter().rev() {
            if !fs::symlink_metadata(path).unwrap().is_symlink() {
                // Without root, what its owner may not read cannot be saved.
                let readable = if rustix::process::geteuid().is_root() { 0 } else { 0o700 };
                fs::set_permissions(path, Permissions::from_mode(mode | readable)).unwrap();
            }
            set_mtime(path, *secs, *nanos);
        }
        let before = snapshot(tree.path());
        let bytes = archive(tree.path());
        let (copy, counted) = restored(&bytes);
        prop_assert_eq!(&snapshot(copy.path()), &before);
        prop_assert_eq!(counted.entries, before.len() as u64);
        prop_assert_eq!(archive(copy.path()), bytes);
    }
}

#[test]
fn sockets_and_pipes_are_counted_and_left_out() {
    let tree = tempfile::tempdir().unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(tree.path().join("socket")).unwrap();
    rustix::fs::mknodat(
        CWD,
        tree.path().join("pipe"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RWXU,
        0,
    )
    .unwrap();
    fs::write(tree.path().join("file"), "x").unwrap();
    let written = write(tree.path(), io::sink(), &Limits::default()).unwrap();
    assert_eq!((written.skipped.special, written.counted.files), (2, 1));
}

#[test]
fn gnu_tar_reads_what_is_written() {
    let tree = tempfile::tempdir().unwrap();
    let deep = tree.path().join("d".repeat(90)).join("e".repeat(90));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("file"), "content").unwrap();
    symlink("l".repeat(150), deep.join("link")).unwrap();
    set_mtime(&deep.join("file"), -2, 500_000_000);
    set_mtime(&deep, 1_000_000_000, 123_456_789);
    let into = tempfile::tempdir().unwrap();
    let tar = into.path().join("tree.tar");
    fs::write(&tar, archive(tree.path())).unwrap();
    let copy = into.path().join("copy");
    fs::create_dir(&copy).unwrap();
    let status = std::process::Command::new("tar")
        .args(["-xpf"])
        .arg(&tar)
        .arg("-C")
        .arg(&copy)
        .status()
        .unwrap();
    assert!(status.success());
    // The upper directory takes the time of the extraction of what is in it into account in both.
    let (mut before, mut after) = (snapshot(tree.path()), snapshot(&copy));
    before.retain(|path, _| path.len() > 90);
    after.retain(|path, _| path.len() > 90);
    assert_eq!(after, before);
}

#[test]
fn what_gnu_tar_writes_is_read() {
    let tree = tempfile::tempdir().unwrap();
    fs::create_dir_all(tree.path().join("a/b")).unwrap();
    fs::write(tree.path().join("a").join("n".repeat(180)), "long").unwrap();
    symlink("b", tree.path().join("a/link")).unwrap();
    for format in ["gnu", "pax"] {
        let output = std::process::Command::new("tar")
            .arg(format!("--format={format}"))
            .args(["-cf", "-", "-C"])
            .arg(tree.path())
            .arg(".")
            .output()
            .unwrap();
        let (copy, counted) = restored(&output.stdout);
        assert_eq!((counted.files, counted.bytes), (2, 4), "{format}");
        assert_eq!(
            fs::read_link(copy.path().join("a/link")).unwrap(),
            Path::new("b")
        );
    }
}

#[test]
fn one_million_files_pass_the_limit_only_if_it_is_higher() {
    let limits = Limits {
        max_bytes: 10,
        max_files: 3,
    };
    let tree = tempfile::tempdir().unwrap();
    for name in ["a", "b", "c", "d"] {
        fs::write(tree.path().join(name), "x").unwrap();
    }
    let bytes = archive(tree.path());
    let into = tempfile::tempdir().unwrap();
    let error = extract(bytes.as_slice(), into.path(), &limits).unwrap_err();
    assert_eq!(error.to_string(), "the tree holds more than 3 files");
    let error = write(tree.path(), io::sink(), &limits).unwrap_err();
    assert_eq!(error.to_string(), "the tree holds more than 3 files");

    fs::write(tree.path().join("a"), "eleven bytes").unwrap();
    let limits = Limits {
        max_files: 10,
        ..limits
    };
    let bytes = archive(tree.path());
    let into = tempfile::tempdir().unwrap();
    let error = extract(bytes.as_slice(), into.path(), &limits).unwrap_err();
    assert_eq!(error.to_string(), "the tree holds more than 10 bytes");
    assert_eq!(
        fs::read_dir(into.path()).unwrap().count(),
        0,
        "refused before it is written"
    );
}

/// An archive made by hand.
struct Forged(Builder<Vec<u8>>);

impl Forged {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    fn add(mut self, path: &str, kind: EntryType, link: &str, data: &[u8]) -> Self {
        self.raw(path, kind, link, data.len() as u64, data);
        self
    }

    fn raw(&mut self, path: &str, kind: EntryType, link: &str, size: u64, data: &[u8]) {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o777);
        header.set_size(size);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        self.0.append(&header, data).unwrap();
    }

    /// Extracts it beside a directory that must stay as it is, and gives the refusal.
    fn refused(self) -> String {
        let around = tempfile::tempdir().unwrap();
        let outside = around.path().join("outside");
        fs::write(&outside, "untouched").unwrap();
        fs::set_permissions(&outside, Permissions::from_mode(0o600)).unwrap();
        let into = around.path().join("into");
        fs::create_dir(&into).unwrap();
        let bytes = self.0.into_inner().unwrap();
        let error = extract(bytes.as_slice(), &into, &Limits::default()).unwrap_err();
        assert_eq!(fs::read_to_string(&outside).unwrap(), "untouched");
        assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(around.path()).unwrap().count(), 2);
        error.to_string()
    }
}

#[test]
fn entries_that_leave_the_root_are_refused() {
    use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let cases = [
        (
            Forged::new().add("/outside", Regular, "", b"x"),
            "path `/outside` is absolute",
        ),
        (
            Forged::new().add("a/../../outside", Regular, "", b"x"),
            "path `a/../../outside` leaves its root by `..`",
        ),
        (
            Forged::new().add("l", Link, "../outside", b""),
            "hard link `l`: path `../outside` leaves its root by `..`",
        ),
        (
            Forged::new().add("l", Link, "/etc/passwd", b""),
            "hard link `l`: path `/etc/passwd` is absolute",
        ),
        (Forged::new().add("c", Char, "", b""), "`c` is a device"),
        (Forged::new().add("b", Block, "", b""), "`b` is a device"),
        (Forged::new().add("p", Fifo, "", b""), "`p` is a pipe"),
        (
            Forged::new()
                .add("s", Symlink, "..", b"")
                .add("s/outside", Regular, "", b"x"),
            "`s/outside` leads through a link or a file",
        ),
        (
            Forged::new()
                .add("s", Symlink, "../outside", b"")
                .add("s", Regular, "", b"x"),
            "`s` comes twice",
        ),
        (
            Forged::new()
                .add("s", Symlink, "..", b"")
                .add("l", Link, "s/outside", b""),
            "`l` leads through a link or a file",
        ),
        (
            Forged::new()
                .add("d", Directory, "", b"")
                .add("d", Symlink, "..", b""),
            "`d` comes twice",
        ),
    ];
    for (forged, why) in cases {
        assert_eq!(forged.refused(), format!("the archive is refused: {why}"));
    }
}

/// RUSTSEC-2026-0067: a directory entry in the place of a link changed the mode of what the link points to.
#[test]
fn a_mode_is_never_set_through_a_link() {
    let forged = Forged::new()
        .add("s", EntryType::Symlink, "../outside", b"")
        .add("s", EntryType::Directory, "", b"");
    assert_eq!(forged.refused(), "the archive is refused: `s` comes twice");
    let forged = Forged::new()
        .add("s", EntryType::Symlink, "../outside", b"")
        .add("l", EntryType::Link, "s", b"")
        .add("l", EntryType::Directory, "", b"");
    assert_eq!(forged.refused(), "the archive is refused: `l` comes twice");
}

/// RUSTSEC-2026-0068: a PAX size beside another in the header let two readers see different entries.
#[test]
fn an_entry_with_two_sizes_is_refused() {
    let mut forged = Forged::new();
    forged
        .0
        .append_pax_extensions([("size", b"1024".as_slice())])
        .unwrap();
    forged.raw("f", EntryType::Regular, "", 8, b"12345678");
    let why =
        "the archive is refused: `f` has two sizes, 8 in its header and 1024 in its PAX record";
    assert_eq!(forged.refused(), why);
}

#[test]
fn headers_do_not_fill_the_memory() {
    let mut forged = Forged::new();
    let name = vec![b'n'; 2 << 20];
    forged
        .0
        .append_pax_extensions([("path", name.as_slice())])
        .unwrap();
    forged.raw("f", EntryType::Regular, "", 0, b"");
    let why = "cannot read the archive: the headers of an entry exceed 1 MiB";
    assert_eq!(forged.refused(), why);
}

#[test]
fn a_cut_archive_is_never_whole() {
    let tree = tempfile::tempdir().unwrap();
    fs::write(tree.path().join("a"), vec![7; 3000]).unwrap();
    fs::write(tree.path().join("b"), "x").unwrap();
    let bytes = archive(tree.path());
    let content = bytes.len() - 1024;
    for len in (0..content).step_by(256) {
        let into = tempfile::tempdir().unwrap();
        let cut = bytes.as_slice().take(len as u64);
        assert!(
            extract(cut, into.path(), &Limits::default()).is_err(),
            "cut at {len}"
        );
    }
}
