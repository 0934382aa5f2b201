//! Reads the files in arguments, and standard input, up to a limit.

use std::fs::{self, File};
use std::io::{self, BufRead, Read};
use std::path::Path;

use super::exit::Failure;

/// Limit in bytes for a start request, keys and certificates.
pub(super) const SMALL: u64 = 4 << 20;
/// Limit in bytes for the output of a cluster, such as a pod with all its events, and for one line of a record.
pub(super) const LARGE: u64 = 64 << 20;

/// Reads a text; `-` is standard input.
pub(super) fn text(path: &Path, largest: u64) -> Result<String, Failure> {
    let bytes = bytes(path, largest)?;
    String::from_utf8(bytes).map_err(|_| unreadable(path, "it is no text in UTF-8"))
}

/// Reads bytes; `-` is standard input.
pub(super) fn bytes(path: &Path, largest: u64) -> Result<Vec<u8>, Failure> {
    let read = || {
        let mut bytes = Vec::new();
        let input: &mut dyn Read = match path == Path::new("-") {
            true => &mut io::stdin(),
            false => &mut File::open(path)?,
        };
        input.take(largest + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > largest {
            return Err(too_large(largest));
        }
        Ok(bytes)
    };
    read().map_err(|error: io::Error| unreadable(path, &error.to_string()))
}

/// Rejects a file that is no regular file or pipe, or larger than the limit, before others read it whole.
pub(super) fn check(path: &Path, largest: u64) -> Result<(), Failure> {
    use std::os::unix::fs::FileTypeExt;
    let about = fs::metadata(path).map_err(|error| unreadable(path, &error.to_string()))?;
    let kind = about.file_type();
    match () {
        () if kind.is_char_device() || kind.is_block_device() => {
            Err(unreadable(path, "it is a device"))
        }
        () if about.len() > largest => Err(unreadable(path, &too_large(largest).to_string())),
        () => Ok(()),
    }
}

/// The lines of a file; only the length of a line is limited.
pub(super) fn lines(path: &Path) -> Result<impl Iterator<Item = Result<String, Failure>>, Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error.to_string()))?;
    let mut file = io::BufReader::new(file);
    Ok(std::iter::from_fn(move || {
        let mut line = Vec::new();
        let read = file.by_ref().take(LARGE + 1).read_until(b'\n', &mut line);
        let fault = match read {
            Ok(0) => return None,
            Ok(length) if length as u64 > LARGE => "a line is larger than 64 MiB".to_owned(),
            Ok(_) => {
                line.pop_if(|last| *last == b'\n');
                match String::from_utf8(line) {
                    Ok(line) => return Some(Ok(line)),
                    Err(_) => "a line is no text in UTF-8".to_owned(),
                }
            }
            Err(error) => error.to_string(),
        };
        Some(Err(unreadable(path, &fault)))
    }))
}

/// The name of an input in messages.
pub(super) fn name(path: &Path) -> String {
    match path == Path::new("-") {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    }
}

fn too_large(largest: u64) -> io::Error {
    let why = format!("it is larger than {} MiB", largest >> 20);
    io::Error::new(io::ErrorKind::FileTooLarge, why)
}

fn unreadable(path: &Path, why: &str) -> Failure {
    Failure::usage(format!("cannot read {}: {why}", name(path)))
}
