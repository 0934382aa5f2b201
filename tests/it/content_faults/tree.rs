//! Trees with what a backup must keep, and their comparison.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A directory and all below it, as it was.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Tree(BTreeMap<PathBuf, Entry>);

#[derive(Clone, PartialEq, Eq)]
struct Entry {
    mode: u32,
    modified: (i64, i64),
    content: Vec<u8>,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Self {
        let mut entries = BTreeMap::new();
        let mut open = vec![root.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let found = fs::symlink_metadata(&path).unwrap();
                let content = if found.is_symlink() {
                    fs::read_link(&path).unwrap().as_os_str().as_bytes().into()
                } else if found.is_dir() {
                    open.push(path.clone());
                    Vec::new()
                } else {
                    fs::read(&path).unwrap()
                };
                let entry = Entry {
                    mode: found.mode(),
                    modified: (found.mtime(), found.mtime_nsec()),
                    content,
                };
                entries.insert(path.strip_prefix(root).unwrap().to_owned(), entry);
            }
        }
        Self(entries)
    }

    /// Paths that are not the same in both.
    pub(super) fn differences<'a>(&'a self, other: &'a Self) -> Vec<&'a Path> {
        let all = self.0.keys().chain(other.0.keys());
        let mut paths: Vec<_> = all
            .filter(|path| self.0.get(*path) != other.0.get(*path))
            .map(PathBuf::as_path)
            .collect();
        paths.sort();
        paths.dedup();
        paths
    }
}

/// Writes a directory at once: so many megabytes that no compression shortens, and all that is easily lost.
pub(super) fn write(root: &Path, name: &str, megabytes: usize) {
    let new = root.with_extension(name);
    fs::create_dir_all(new.join("empty/inner")).unwrap();
    fs::write(new.join("noise"), noise(megabytes << 20)).unwrap();
    fs::write(new.join("script"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(new.join("script"), Permissions::from_mode(0o750)).unwrap();
    std::os::unix::fs::symlink("script", new.join("link")).unwrap();
    fs::write(new.join(OsStr::from_bytes(b"n\xffme")), name).unwrap();
    let old = SystemTime::UNIX_EPOCH + Duration::new(1_000_000_000, 123_456_789);
    let file = File::options().append(true).open(new.join("script"));
    file.unwrap().set_modified(old).unwrap();
    fs::rename(new, root.join(name)).unwrap();
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut all = Vec::with_capacity(bytes + 8);
    while all.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        all.extend(state.to_le_bytes());
    }
    all
}
