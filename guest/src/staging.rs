//! Content in the making: a directory beside its target that is put in place only when it is whole.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};
use rustix::io::Errno;

use crate::beneath::Root;
use crate::path::{RelPath, shown};
use crate::walk::OWN_PREFIX;

/// A directory that is removed unless it is put in place.
#[derive(Debug)]
pub struct Staging {
    root: PathBuf,
    dir: PathBuf,
}

/// Why content could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("{0} is there already")]
    Occupied(String),
    #[error("cannot put {0} in place: {1}")]
    Io(String, io::Error),
}

impl Staging {
    /// Makes one at the top of `root`, so that a rename is enough to put it in place.
    pub fn new(root: &Path) -> io::Result<Self> {
        for number in 0.. {
            let name = format!("{OWN_PREFIX}staging-{}-{number}", std::process::id());
            let dir = root.join(name);
            match fs::create_dir(&dir) {
                Ok(()) => {
                    return Ok(Self {
                        root: root.to_owned(),
                        dir,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// Puts the content at `target` below the root. What is there already stays: a directory takes the new
    /// entries in beside its own, and nothing is moved if one of them is there.
    pub fn place(self, target: &RelPath) -> Result<(), PlaceError> {
        let failed = |error: io::Error| PlaceError::Io(target.to_string(), error);
        let root = Root::open(&self.root).map_err(failed)?;
        if let Some((parent, name)) = target.split() {
            let parent = root.make_dirs(&parent).map_err(failed)?;
            let whole = rustix::fs::renameat_with(
                CWD,
                self.dir.as_path(),
                &parent,
                name,
                RenameFlags::NOREPLACE,
            );
            match whole {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(error) => return Err(failed(error.into())),
            }
        }
        let target_dir = root.dir(target).map_err(failed)?;
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            names.push(entry.map_err(failed)?.file_name());
        }
        names.sort();
        for name in &names {
            let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
            match rustix::fs::statat(&target_dir, name, flags) {
                Err(Errno::NOENT) => {}
                Ok(_) => return Err(PlaceError::Occupied(shown(name.as_bytes()))),
                Err(error) => return Err(failed(error.into())),
            }
        }
        for name in &names {
            self.move_into(&target_dir, name)
                .map_err(|error| PlaceError::Io(shown(name.as_bytes()), error.into()))?;
        }
        Ok(())
    }

    /// Moves one entry. A directory that its owner may not write cannot change its parent, so it becomes writable
    /// on the way.
    fn move_into(&self, target: &impl std::os::fd::AsFd, name: &OsStr) -> Result<(), Errno> {
        let from = self.dir.join(name);
        let rename = || {
            let flags = RenameFlags::NOREPLACE;
            rustix::fs::renameat_with(CWD, from.as_path(), target, name, flags)
        };
        match rename() {
            Err(Errno::ACCESS) => {}
            result => return result,
        }
        let mode = rustix::fs::statat(CWD, &from, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?.st_mode;
        let mode = rustix::fs::Mode::from_raw_mode(mode & 0o7777);
        rustix::fs::chmodat(
            CWD,
            &from,
            mode | rustix::fs::Mode::RWXU,
            rustix::fs::AtFlags::empty(),
        )?;
        rename()?;
        rustix::fs::chmodat(target, name, mode, rustix::fs::AtFlags::empty())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What is left is found again by its name.
        let _ = remove_tree(&self.dir);
    }
}

/// Removes what runs that were cut have left at the top of `root`.
pub fn remove_leftovers(root: &Path) -> io::Result<()> {
    remove_entries(root, |name| {
        name.as_bytes().starts_with(OWN_PREFIX.as_bytes())
    })
}

/// Empties `root`, but for what is no content.
pub fn empty(root: &Path) -> io::Result<()> {
    remove_entries(root, |name| name != "lost+found")
}

fn remove_entries(root: &Path, which: impl Fn(&OsStr) -> bool) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if which(&entry.file_name()) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

/// Removes a tree, also one with directories that may not be written.
fn remove_tree(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        result => result?,
    };
    if !metadata.is_dir() {
        return fs::remove_file(path);
    }
    if metadata.permissions().mode() & 0o700 != 0o700 {
        fs::set_permissions(path, Permissions::from_mode(0o700))?;
    }
    for entry in fs::read_dir(path)? {
        let path = entry?.path();
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(_) => remove_tree(&path)?,
        }
    }
    fs::remove_dir(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rel(text: &str) -> RelPath {
        RelPath::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn content_appears_whole_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let cut = Staging::new(root.path()).unwrap();
        fs::write(cut.path().join("half"), "x").unwrap();
        drop(cut);
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);

        let whole = Staging::new(root.path()).unwrap();
        fs::write(whole.path().join("file"), "x").unwrap();
        whole.place(&rel("a/b")).unwrap();
        assert_eq!(
            fs::read_to_string(root.path().join("a/b/file")).unwrap(),
            "x"
        );
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn nothing_moves_where_something_is() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("b"), "old").unwrap();
        let staging = Staging::new(root.path()).unwrap();
        for name in ["a", "b"] {
            fs::write(staging.path().join(name), "new").unwrap();
        }
        let error = staging.place(&rel("")).unwrap_err();
        assert_eq!(error.to_string(), "`b` is there already");
        assert!(!root.path().join("a").exists());
        assert_eq!(fs::read_to_string(root.path().join("b")).unwrap(), "old");
    }

    #[test]
    fn a_link_does_not_lead_content_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("link")).unwrap();
        let staging = Staging::new(root.path()).unwrap();
        fs::write(staging.path().join("file"), "x").unwrap();
        assert!(staging.place(&rel("link/below")).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn leftovers_go_also_where_directories_may_not_be_written() {
        let root = tempfile::tempdir().unwrap();
        let left = root.path().join(".wsman-staging-1-0/sealed");
        fs::create_dir_all(&left).unwrap();
        fs::write(left.join("file"), "x").unwrap();
        fs::set_permissions(&left, Permissions::from_mode(0o500)).unwrap();
        fs::write(root.path().join("content"), "x").unwrap();
        remove_leftovers(root.path()).unwrap();
        let names: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["content"]);
    }
}
