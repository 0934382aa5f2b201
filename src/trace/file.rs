//! The file of an event trace log: appended to in whole lines, put aside at a size, opened again when it is not there
//! any more.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Takes lines without their ends: all of them, or none.
pub(super) trait Append: Send + fmt::Debug {
    /// Appends lines.
    ///
    /// # Errors
    /// If not all are written.
    fn append(&mut self, lines: &[String]) -> io::Result<()>;
}

/// A file that grows to a size.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    cap: u64,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Device and number: whether the path still names this file.
    identity: (u64, u64),
    regular: bool,
    length: u64,
}

impl LogFile {
    /// Returns a log that opens its file with the first line.
    pub(super) fn new(path: PathBuf, cap: u64) -> Self {
        Self {
            path,
            cap,
            open: None,
        }
    }

    /// The file that the path names now.
    fn current(&mut self) -> io::Result<&mut Open> {
        let there = fs::metadata(&self.path).ok();
        let identity = there.as_ref().map(|about| (about.dev(), about.ino()));
        let open = match self.open.take() {
            Some(open) if Some(open.identity) == identity => open,
            _ => Open::at(&self.path)?,
        };
        Ok(self.open.insert(open))
    }

    fn put_aside(&mut self) -> io::Result<()> {
        let mut predecessor = self.path.clone().into_os_string();
        predecessor.push(".1");
        fs::rename(&self.path, predecessor)?;
        self.open = None;
        Ok(())
    }
}

impl Append for LogFile {
    fn append(&mut self, lines: &[String]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for line in lines {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        let cap = self.cap;
        let open = self.current()?;
        if open.regular && open.length > 0 && open.length + bytes.len() as u64 > cap {
            self.put_aside()?;
        }
        let written = self.current()?.write(&bytes);
        if written.is_err() {
            // Whatever is wrong with it: the next lines try their luck with a file that is opened anew.
            self.open = None;
        }
        written
    }
}

impl Open {
    /// Opens a file, or creates it for its owner alone.
    fn at(path: &Path) -> io::Result<Self> {
        // To open a pipe would wait for its reader.
        let usable = |about: &fs::Metadata| about.is_file() || about.file_type().is_char_device();
        if fs::metadata(path).is_ok_and(|about| !usable(&about)) {
            return Err(io::Error::other("it is no regular file"));
        }
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let about = file.metadata()?;
        let mut open = Self {
            file,
            identity: (about.dev(), about.ino()),
            regular: about.is_file(),
            length: about.len(),
        };
        // A predecessor that was killed may have left half a line.
        if open.regular && open.length > 0 && !open.ends_with_a_line()? {
            open.write(b"\n")?;
        }
        Ok(open)
    }

    fn ends_with_a_line(&mut self) -> io::Result<bool> {
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        Ok(last == *b"\n")
    }

    /// Writes all of it, or takes back what was written.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        match &written {
            Ok(()) => self.length += bytes.len() as u64,
            Err(_) if self.regular => self.file.set_len(self.length)?,
            Err(_) => {}
        }
        written
    }
}
