//! Writes a tree as a tar stream.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use tar::{Builder, EntryType, Header};

use super::{Counted, LimitError, Limits};
use crate::path::shown;
use crate::walk::{Found, Visitor, walk};

/// Files up to this size are read whole first, so that one that changes meanwhile is never torn.
const WHOLE: u64 = 1 << 20;

/// How many unreadable entries are named.
const NAMED: usize = 5;

/// What went into an archive, and what did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    pub counted: Counted,
    pub skipped: Skipped,
}

/// What an archive does not hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Sockets, pipes and devices.
    pub special: u64,
    /// Entries that could not be read.
    pub unreadable: u64,
    /// The first of them, with the reason.
    pub named: Vec<String>,
    /// Files that shrank while they were read; what was missing is zeros.
    pub torn: u64,
}

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error("cannot write the archive: {0}")]
    Io(#[from] io::Error),
}

/// Writes what lies below `root` to `out`, in the order of the names.
pub fn write(root: &Path, out: impl Write, limits: &Limits) -> Result<Written, WriteError> {
    let mut archive = Archive {
        tar: Builder::new(out),
        limits,
        written: Written::default(),
        links: HashMap::new(),
        buffer: Vec::new(),
    };
    walk(root, &mut archive)?;
    archive.tar.into_inner()?.flush()?;
    Ok(archive.written)
}

struct Archive<'a, W: Write> {
    tar: Builder<W>,
    limits: &'a Limits,
    written: Written,
    /// The first path of every file that has several.
    links: HashMap<(u64, u64), Vec<u8>>,
    buffer: Vec<u8>,
}

impl<W: Write> Visitor for Archive<'_, W> {
    type Error = WriteError;

    fn entry(&mut self, found: &Found<'_>) -> Result<(), WriteError> {
        match found.kind {
            FileType::Directory => {
                self.written.counted.add(true, 0, self.limits)?;
                self.append(
                    found.path,
                    &found.stat,
                    EntryType::Directory,
                    b"",
                    0,
                    io::empty(),
                )
            }
            FileType::RegularFile => self.file(found),
            FileType::Symlink => self.symlink(found),
            _ => {
                self.written.skipped.special += 1;
                Ok(())
            }
        }
    }

    fn unreadable(&mut self, path: &[u8], error: io::Error) {
        let skipped = &mut self.written.skipped;
        skipped.unreadable += 1;
        if skipped.named.len() < NAMED {
            skipped.named.push(format!("{}: {error}", shown(path)));
        }
    }
}

impl<W: Write> Archive<'_, W> {
    fn file(&mut self, found: &Found<'_>) -> Result<(), WriteError> {
        if found.stat.st_nlink > 1 {
            let inode = (found.stat.st_dev, found.stat.st_ino);
            if let Some(first) = self.links.get(&inode).cloned() {
                self.written.counted.add(false, 0, self.limits)?;
                return self.append(
                    found.path,
                    &found.stat,
                    EntryType::Link,
                    &first,
                    0,
                    io::empty(),
                );
            }
        }
        // NONBLOCK: the entry may have become a pipe since.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(found.parent, found.name, flags, Mode::empty()) {
            Ok(fd) => File::from(fd),
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => {
                self.unreadable(found.path, error.into());
                return Ok(());
            }
        };
        let stat = rustix::fs::fstat(&file).map_err(io::Error::from)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let size = stat.st_size.max(0) as u64;
        if size <= WHOLE {
            self.whole_file(found, file, &stat)?;
        } else {
            self.written.counted.add(false, size, self.limits)?;
            let mut data = Exactly {
                file: file.take(size),
                left: size,
                torn: false,
            };
            self.append(found.path, &stat, EntryType::Regular, b"", size, &mut data)?;
            self.written.skipped.torn += u64::from(data.torn);
        }
        if stat.st_nlink > 1 {
            self.links
                .insert((stat.st_dev, stat.st_ino), found.path.to_vec());
        }
        Ok(())
    }

    fn whole_file(&mut self, found: &Found<'_>, file: File, stat: &Stat) -> Result<(), WriteError> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        match file.take(WHOLE).read_to_end(&mut buffer) {
            Ok(_) => {
                let size = buffer.len() as u64;
                self.written.counted.add(false, size, self.limits)?;
                self.append(
                    found.path,
                    stat,
                    EntryType::Regular,
                    b"",
                    size,
                    buffer.as_slice(),
                )?;
            }
            Err(error) => self.unreadable(found.path, error),
        }
        self.buffer = buffer;
        Ok(())
    }

    fn symlink(&mut self, found: &Found<'_>) -> Result<(), WriteError> {
        match rustix::fs::readlinkat(found.parent, found.name, Vec::new()) {
            Ok(target) => {
                self.written.counted.add(false, 0, self.limits)?;
                let target = target.as_bytes();
                self.append(
                    found.path,
                    &found.stat,
                    EntryType::Symlink,
                    target,
                    0,
                    io::empty(),
                )
            }
            Err(Errno::NOENT) => Ok(()),
            Err(error) => {
                self.unreadable(found.path, error.into());
                Ok(())
            }
        }
    }

    /// Writes one entry; what its header cannot hold goes before it.
    fn append(
        &mut self,
        path: &[u8],
        stat: &Stat,
        kind: EntryType,
        link: &[u8],
        size: u64,
        data: impl Read,
    ) -> Result<(), WriteError> {
        let mut header = Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(u64::from(stat.st_uid));
        header.set_gid(u64::from(stat.st_gid));
        header.set_mtime(stat.st_mtime.max(0) as u64);
        header.set_size(size);
        let old = header.as_old_mut();
        fill(&mut old.name, path);
        fill(&mut old.linkname, link);
        header.set_cksum();

        self.long(EntryType::GNULongName, path)?;
        self.long(EntryType::GNULongLink, link)?;
        if stat.st_mtime_nsec != 0 || stat.st_mtime < 0 {
            let time = seconds(stat.st_mtime, stat.st_mtime_nsec as u32);
            self.tar
                .append_pax_extensions([("mtime", time.as_bytes())])?;
        }
        self.tar.append(&header, data)?;
        Ok(())
    }

    /// Writes a name that its header cannot hold as GNU does: a PAX record of it would be read wrongly where the
    /// name contains a line feed.
    fn long(&mut self, kind: EntryType, name: &[u8]) -> Result<(), WriteError> {
        if name.len() <= 100 {
            return Ok(());
        }
        let mut header = Header::new_gnu();
        fill(&mut header.as_old_mut().name, b"././@LongLink");
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(name.len() as u64 + 1);
        header.set_cksum();
        self.tar.append(&header, name.chain([0].as_slice()))?;
        Ok(())
    }
}

/// Puts as much of a name into a field of the header as fits.
fn fill(field: &mut [u8; 100], name: &[u8]) {
    let len = name.len().min(field.len());
    field[..len].copy_from_slice(&name[..len]);
}

/// A time as PAX writes it; before 1970 the fraction counts away from zero.
fn seconds(secs: i64, nanos: u32) -> String {
    if secs < 0 && nanos > 0 {
        format!("-{}.{:09}", -(secs + 1), 1_000_000_000 - nanos)
    } else {
        format!("{secs}.{nanos:09}")
    }
}

/// Gives exactly as many bytes as the header said, zeros where the file has become shorter.
struct Exactly {
    file: io::Take<File>,
    left: u64,
    torn: bool,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 {
            return Ok(0);
        }
        let mut read = if self.torn {
            0
        } else {
            self.file.read(buffer)?
        };
        if read == 0 {
            self.torn = true;
            read = usize::try_from(self.left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            buffer[..read].fill(0);
        }
        self.left -= read as u64;
        Ok(read)
    }
}
