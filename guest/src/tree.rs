//! `tree send` and `tree receive`: a tree as a tar stream over a pipe.

use std::io::{self, BufWriter, Read, Write};
use std::path::Path;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::archive::read::{ReadError, extract};
use crate::archive::write::{WriteError, write};
use crate::archive::{Counted, Limits};
use crate::path::RelPath;
use crate::staging::{PlaceError, Staging};

/// What was sent or received.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Of the tar stream.
    pub sha256: String,
    /// Sizes of the files added up.
    pub bytes: u64,
    /// Files and links.
    pub files: u64,
}

/// Why a tree did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error("the stream is not what was expected: its sha256 is {found}, not {expected}")]
    Digest { expected: String, found: String },
    #[error("cannot use {0}: {1}")]
    Directory(String, io::Error),
}

/// Writes the tree below `dir` to `out`.
pub fn send(dir: &Path, out: impl Write, limits: &Limits) -> Result<Report, TreeError> {
    let mut hashing = Hashing::new(BufWriter::with_capacity(256 * 1024, out));
    let written = write(dir, &mut hashing, limits)?;
    Ok(report(hashing, written.counted))
}

/// Extracts `input` below `dir`; nothing appears there unless all of it arrived and has the hash `sha256`.
pub fn receive(
    dir: &Path,
    input: impl Read,
    sha256: Option<&str>,
    limits: &Limits,
) -> Result<Report, TreeError> {
    let failed = |error| TreeError::Directory(dir.display().to_string(), error);
    std::fs::create_dir_all(dir).map_err(failed)?;
    let staging = Staging::new(dir).map_err(failed)?;
    let mut hashing = Hashing::new(input);
    let counted = extract(&mut hashing, staging.path(), limits)?;
    let report = report(hashing, counted);
    if let Some(expected) = sha256.filter(|expected| *expected != report.sha256) {
        let expected = expected.to_owned();
        return Err(TreeError::Digest {
            expected,
            found: report.sha256,
        });
    }
    staging.place(&RelPath::default())?;
    Ok(report)
}

fn report<T>(hashing: Hashing<T>, counted: Counted) -> Report {
    Report {
        sha256: hashing.finish().1,
        bytes: counted.bytes,
        files: counted.files,
    }
}

/// Passes bytes on and hashes them.
#[derive(Debug)]
pub struct Hashing<T> {
    inner: T,
    hash: Sha256,
    len: u64,
}

impl<T> Hashing<T> {
    pub fn new(inner: T) -> Self {
        Self {
            inner,
            hash: Sha256::new(),
            len: 0,
        }
    }

    /// How many bytes passed, and their SHA-256.
    pub fn finish(self) -> (u64, String) {
        (self.len, hex(&self.hash.finalize()))
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.len += bytes.len() as u64;
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.pass(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.pass(&buffer[..read]);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_tree_arrives_only_with_its_hash() {
        let from = tempfile::tempdir().unwrap();
        fs::write(from.path().join("file"), "content").unwrap();
        let mut stream = Vec::new();
        let sent = send(from.path(), &mut stream, &Limits::default()).unwrap();

        let to = tempfile::tempdir().unwrap();
        let wrong = "0".repeat(64);
        let error = receive(
            to.path(),
            stream.as_slice(),
            Some(&wrong),
            &Limits::default(),
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            format!(
                "the stream is not what was expected: its sha256 is {}, not {wrong}",
                sent.sha256
            )
        );
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 0);

        let hash = Some(sent.sha256.as_str());
        let received = receive(to.path(), stream.as_slice(), hash, &Limits::default()).unwrap();
        assert_eq!(received, sent);
        assert_eq!(
            fs::read_to_string(to.path().join("file")).unwrap(),
            "content"
        );
    }
}
