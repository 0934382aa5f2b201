//! Copies this program to where a container of another image finds it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// The name of the program.
const NAME: &str = "wsman-guest";

/// Puts the program at `path`, or into it if it is a directory; a program that is there is replaced as a whole.
///
/// # Errors
/// If it cannot be read or written.
pub fn install(path: &Path) -> io::Result<PathBuf> {
    let target = match path.is_dir() {
        true => path.join(NAME),
        false => path.to_owned(),
    };
    let name = target
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it has no file name"))?;
    let mut own = name.to_owned();
    own.push(format!(".{}", std::process::id()));
    let own = target.with_file_name(own);
    let copied = fs::copy("/proc/self/exe", &own)
        .and_then(|_| fs::set_permissions(&own, Permissions::from_mode(0o755)))
        .and_then(|()| fs::rename(&own, &target));
    if let Err(error) = copied {
        let _ = fs::remove_file(&own);
        return Err(error);
    }
    Ok(target)
}
