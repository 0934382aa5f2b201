//! Visits a tree in the order of its names, through directory handles.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// What the guest itself puts into a root begins so; it is never content.
pub const OWN_PREFIX: &str = ".wsman-";

/// One entry of a tree.
#[derive(Debug)]
pub struct Found<'a> {
    /// The directory that holds it.
    pub parent: BorrowedFd<'a>,
    /// Its name there.
    pub name: &'a CStr,
    /// Its path below the root.
    pub path: &'a [u8],
    /// What it is, without following a link.
    pub stat: Stat,
    pub kind: FileType,
}

/// Who is told what a walk finds.
pub trait Visitor {
    type Error: From<io::Error>;

    /// A directory comes before what it holds.
    fn entry(&mut self, found: &Found<'_>) -> Result<(), Self::Error>;

    /// An entry could not be read; the walk goes on without it.
    fn unreadable(&mut self, path: &[u8], error: io::Error);
}

/// Visits every entry below `root`, directories first, names in the order of their bytes.
///
/// Entries that vanish while the walk runs are passed over.
pub fn walk<V: Visitor>(root: &Path, visitor: &mut V) -> Result<(), V::Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::open(root, flags, Mode::empty()).map_err(io::Error::from)?;
    let mut path = Vec::new();
    let mut stack = vec![Level::read(fd, 0)?];
    while let Some(level) = stack.last_mut() {
        path.truncate(level.path_len);
        let Some(name) = level.names.get(level.next) else {
            stack.pop();
            continue;
        };
        level.next += 1;
        if level.path_len == 0 && is_foreign(name) {
            continue;
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let stat = match rustix::fs::statat(&level.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => continue,
            Err(error) => {
                visitor.unreadable(&path, error.into());
                continue;
            }
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        let parent = level.fd.as_fd();
        visitor.entry(&Found {
            parent,
            name,
            path: &path,
            stat,
            kind,
        })?;
        if kind == FileType::Directory {
            let below = rustix::fs::openat(parent, name, flags | OFlags::NOFOLLOW, Mode::empty());
            match below
                .map_err(io::Error::from)
                .and_then(|fd| Level::read(fd, path.len()))
            {
                Ok(level) => stack.push(level),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => visitor.unreadable(&path, error),
            }
        }
    }
    Ok(())
}

/// What lies at the top of a root without being content: the guest's own, and what mkfs makes.
fn is_foreign(name: &CStr) -> bool {
    name.to_bytes().starts_with(OWN_PREFIX.as_bytes()) || name.to_bytes() == b"lost+found"
}

/// A directory on the way down.
struct Level {
    fd: OwnedFd,
    path_len: usize,
    names: Names,
    next: usize,
}

impl Level {
    fn read(fd: OwnedFd, path_len: usize) -> io::Result<Self> {
        let mut names = Names::default();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name);
            }
        }
        names.sort();
        Ok(Self {
            fd,
            path_len,
            names,
            next: 0,
        })
    }
}

/// Names in one allocation, so that a directory of a million files stays small.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    starts: Vec<u32>,
}

impl Names {
    fn push(&mut self, name: &CStr) {
        // A directory of 4 GB of names does not exist.
        self.starts.push(self.bytes.len() as u32);
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
    }

    fn sort(&mut self) {
        let bytes = &self.bytes;
        self.starts
            .sort_unstable_by(|a, b| at(bytes, *a).cmp(at(bytes, *b)));
    }

    fn get(&self, index: usize) -> Option<&CStr> {
        self.starts.get(index).map(|start| at(&self.bytes, *start))
    }
}

fn at(bytes: &[u8], start: u32) -> &CStr {
    CStr::from_bytes_until_nul(&bytes[start as usize..]).unwrap_or_default()
}

/// How much a tree holds, and a hash that differs when it changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Files, links and whatever else is not a directory.
    pub files: u64,
    /// Their sizes added up.
    pub bytes: u64,
    /// Over path, size, times and mode of every entry: no content is read.
    pub fingerprint: [u8; 32],
}

/// Measures the tree below `root`.
pub fn measure(root: &Path) -> io::Result<Extent> {
    let mut measuring = Measuring {
        hash: Sha256::new(),
        extent: Extent::default(),
    };
    walk(root, &mut measuring)?;
    let fingerprint = measuring.hash.finalize().into();
    Ok(Extent {
        fingerprint,
        ..measuring.extent
    })
}

struct Measuring {
    hash: Sha256,
    extent: Extent,
}

impl Visitor for Measuring {
    type Error = io::Error;

    fn entry(&mut self, found: &Found<'_>) -> io::Result<()> {
        let stat = &found.stat;
        self.hash.update(found.path);
        self.hash.update([0]);
        for number in [
            stat.st_mtime,
            stat.st_mtime_nsec as i64,
            stat.st_ctime,
            stat.st_ctime_nsec as i64,
            stat.st_size,
            i64::from(stat.st_mode),
        ] {
            self.hash.update(number.to_le_bytes());
        }
        if found.kind != FileType::Directory {
            self.extent.files += 1;
        }
        if found.kind == FileType::RegularFile {
            self.extent.bytes += stat.st_size.max(0) as u64;
        }
        Ok(())
    }

    fn unreadable(&mut self, path: &[u8], _: io::Error) {
        self.hash.update(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_change_of_anything_changes_the_fingerprint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path();
        fs::create_dir(path.join("d")).unwrap();
        fs::write(path.join("d/f"), "one").unwrap();
        let mut last = measure(path).unwrap();
        assert_eq!(measure(path).unwrap(), last);
        assert_eq!((last.files, last.bytes), (1, 3));
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(path.join("d/f"), "two").unwrap(),
            &|| fs::rename(path.join("d/f"), path.join("d/g")).unwrap(),
            &|| std::os::unix::fs::symlink("x", path.join("l")).unwrap(),
            &|| fs::create_dir(path.join("d/e")).unwrap(),
        ];
        for (index, change) in changes.iter().enumerate() {
            change();
            let now = measure(path).unwrap();
            assert_ne!(now.fingerprint, last.fingerprint, "change {index}");
            last = now;
        }
    }

    #[test]
    fn what_the_guest_puts_there_is_not_content() {
        let dir = tempfile::tempdir().unwrap();
        let before = measure(dir.path()).unwrap();
        fs::create_dir(dir.path().join(".wsman-staging-1")).unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        assert_eq!(measure(dir.path()).unwrap(), before);
    }
}
