//! Opens directories below a root without following a symbolic link on the way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use crate::path::RelPath;

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// A directory that everything opened through it lies beneath.
#[derive(Debug)]
pub struct Root(OwnedFd);

impl Root {
    /// Opens the root itself; its own path is trusted and may contain links.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = DIRECTORY.difference(OFlags::NOFOLLOW);
        Ok(Self(rustix::fs::open(path, flags, Mode::empty())?))
    }

    /// Opens a directory beneath.
    ///
    /// A kernel without `openat2`, a sandbox that denies it and a path longer than the kernel takes at once
    /// lead to the walk, which opens one component at a time.
    pub fn dir(&self, path: &RelPath) -> io::Result<OwnedFd> {
        if path.is_root() {
            return self.0.try_clone();
        }
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(&self.0, path.as_bytes(), DIRECTORY, Mode::empty(), resolve) {
            Ok(fd) => Ok(fd),
            Err(Errno::NOSYS | Errno::PERM | Errno::NAMETOOLONG) => self.walk(path),
            Err(error) => Err(error.into()),
        }
    }

    /// What [`Root::dir`] falls back to.
    fn walk(&self, path: &RelPath) -> io::Result<OwnedFd> {
        let mut dir = self.0.try_clone()?;
        for name in path.components() {
            dir = rustix::fs::openat(&dir, name, DIRECTORY, Mode::empty())?;
        }
        Ok(dir)
    }

    /// Opens a directory beneath, and makes it and those above it where they are missing.
    pub fn make_dirs(&self, path: &RelPath) -> io::Result<OwnedFd> {
        let mut dir = self.0.try_clone()?;
        for name in path.components() {
            match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            dir = rustix::fs::openat(&dir, name, DIRECTORY, Mode::empty())?;
        }
        Ok(dir)
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn rel(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    /// Both ways down refuse the same.
    #[test]
    fn follows_no_link() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("real/below")).unwrap();
        symlink("/", dir.path().join("out")).unwrap();
        symlink("real", dir.path().join("inside")).unwrap();
        let root = Root::open(dir.path()).unwrap();
        for way in [Root::dir, Root::walk] {
            assert!(way(&root, &rel("real/below")).is_ok());
            for path in ["out", "out/etc", "inside", "inside/below"] {
                assert!(way(&root, &rel(path)).is_err(), "{path}");
            }
        }
        assert!(root.make_dirs(&rel("inside/new")).is_err());
        assert!(root.make_dirs(&rel("real/new/deep")).is_ok());
        assert!(dir.path().join("real/new/deep").is_dir());
    }

    #[test]
    fn opens_a_path_longer_than_the_kernel_takes() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::open(dir.path()).unwrap();
        let deep = rel(&vec!["d".repeat(200); 40].join("/"));
        root.make_dirs(&deep).unwrap();
        assert!(root.dir(&deep).is_ok());
    }
}
