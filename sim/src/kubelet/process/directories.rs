//! The directories of the process runtime: one per pod, and one per claim that outlives its pods.
//!
//! | Below the runtime's directory | Holds |
//! |---|---|
//! | `lock` | shows that a kubelet uses the directory |
//! | `kubelet.sock` | logs and exec, for the API server |
//! | `pods/UID/volumes/NAME` | a volume |
//! | `pods/UID/containers/NAME` | the home of a container, with `rootfs`, `tmp`, `termination-log` and `logs` |
//! | `claims/NAMESPACE/NAME` | the contents of a claim; `.NAME.uid` beside it is the uid of the claim |

use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The root of all, locked.
#[derive(Debug)]
pub(crate) struct Directories {
    root: PathBuf,
    _lock: File,
}

/// Why the directory cannot be used.
#[derive(Debug)]
pub(crate) enum Error {
    InUse,
    Io(io::Error),
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Error {
        Error::Io(error)
    }
}

impl Directories {
    /// Creates what is missing, and locks it.
    pub(crate) fn open(root: &Path) -> Result<Directories, Error> {
        let root = std::path::absolute(root)?;
        create(&root)?;
        let lock = File::create(root.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(Error::InUse),
            Err(fs::TryLockError::Error(error)) => return Err(Error::Io(error)),
        }
        create(&root.join("pods"))?;
        create(&root.join("claims"))?;
        Ok(Directories { root, _lock: lock })
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.root.join("kubelet.sock")
    }

    pub(crate) fn pods(&self) -> PathBuf {
        self.root.join("pods")
    }

    pub(crate) fn pod(&self, uid: &str) -> PathBuf {
        self.pods().join(uid)
    }

    pub(crate) fn volume(&self, uid: &str, name: &str) -> PathBuf {
        self.pod(uid).join("volumes").join(name)
    }

    pub(crate) fn container(&self, uid: &str, name: &str) -> PathBuf {
        self.pod(uid).join("containers").join(name)
    }

    /// The contents of a claim; those of an older claim of the same name are removed.
    pub(crate) fn claim(&self, namespace: &str, name: &str, uid: &str) -> io::Result<PathBuf> {
        let folder = self.claims(namespace, name)?;
        create(&folder)?;
        let (contents, mark) = (folder.join(name), mark(&folder, name));
        if fs::read_to_string(&mark).ok().as_deref() != Some(uid) {
            remove(&contents)?;
            fs::write(&mark, uid)?;
        }
        create(&contents)?;
        Ok(contents)
    }

    /// Removes the contents of a claim, but for those of the claim with the uid `kept`.
    pub(crate) fn remove_claim(
        &self,
        namespace: &str,
        name: &str,
        kept: Option<&str>,
    ) -> io::Result<()> {
        let folder = self.claims(namespace, name)?;
        let owner = fs::read_to_string(mark(&folder, name)).ok();
        if owner.is_some() && owner.as_deref() == kept {
            return Ok(());
        }
        remove(&folder.join(name))?;
        match fs::remove_file(mark(&folder, name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn claims(&self, namespace: &str, name: &str) -> io::Result<PathBuf> {
        if is_component(namespace) && is_component(name) {
            return Ok(self.root.join("claims").join(namespace));
        }
        Err(io::Error::from(io::ErrorKind::InvalidInput))
    }

    /// Namespace and name of every claim with contents.
    pub(crate) fn all_claims(&self) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for namespace in names(&self.root.join("claims")) {
            let all = names(&self.root.join("claims").join(&namespace)).into_iter();
            let visible = all.filter(|name| !name.starts_with('.'));
            found.extend(visible.map(|name| (namespace.clone(), name)));
        }
        found
    }

    /// Removes everything.
    pub(crate) fn remove(self) -> io::Result<()> {
        remove(&self.root)
    }

    pub(crate) fn remove_pod(&self, uid: &str) -> io::Result<()> {
        match is_component(uid) {
            true => remove(&self.pod(uid)),
            false => Err(io::Error::from(io::ErrorKind::InvalidInput)),
        }
    }

    /// Uids of all pods with a directory.
    pub(crate) fn pod_uids(&self) -> Vec<String> {
        names(&self.pods())
    }
}

/// Whether a name can be that of a file in a directory.
pub(crate) fn is_component(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0'])
}

/// Creates a directory and those above it; only the owner can enter the new ones.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn mark(folder: &Path, name: &str) -> PathBuf {
    // No name starts with a dot.
    folder.join(format!(".{name}.uid"))
}

/// Removes a directory, and those inside that their owner may not change.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            unlock(path)?;
            fs::remove_dir_all(path)
        }
        other => other,
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Lets the owner change a directory and all below it; links are not followed.
fn unlock(path: &Path) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(0o700))?;
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            unlock(&entry.path())?;
        }
    }
    Ok(())
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_kubelet() {
        let folder = tempfile::tempdir().unwrap();
        let first = Directories::open(folder.path()).unwrap();
        assert!(matches!(
            Directories::open(folder.path()),
            Err(Error::InUse)
        ));
        drop(first);
        Directories::open(folder.path()).unwrap();
    }

    #[test]
    fn what_may_not_be_changed_is_removed_too() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("a/b");
        create(&inner).unwrap();
        fs::write(inner.join("file"), "").unwrap();
        fs::set_permissions(&inner, Permissions::from_mode(0o500)).unwrap();
        std::os::unix::fs::symlink("/", folder.path().join("a/link")).unwrap();
        unlock(&folder.path().join("a")).unwrap();
        let mode = fs::metadata(&inner).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        remove(&folder.path().join("a")).unwrap();
        assert!(!folder.path().join("a").exists());
    }

    #[test]
    fn nothing_above_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let directories = Directories::open(folder.path()).unwrap();
        assert!(directories.remove_pod("..").is_err());
        assert!(directories.remove_pod("").is_err());
        assert!(directories.remove_claim("n", "..", None).is_err());
    }

    #[test]
    fn a_new_claim_does_not_have_the_contents_of_an_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let directories = Directories::open(folder.path()).unwrap();
        let write = |uid| {
            let claim = directories.claim("n", "data", uid).unwrap();
            let had = claim.join("file").exists();
            fs::write(claim.join("file"), "").unwrap();
            had
        };
        assert!(!write("a"));
        assert!(write("a"));
        assert!(!write("b"));
        assert_eq!(
            directories.all_claims(),
            [("n".to_owned(), "data".to_owned())]
        );
        directories.remove_claim("n", "data", Some("b")).unwrap();
        assert!(write("b"));
        directories.remove_claim("n", "data", Some("c")).unwrap();
        assert_eq!(directories.all_claims(), []);
    }
}
