//! Extracts a tar stream into an empty directory, and nowhere else.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use tar::{Entry, EntryType};

use super::{Counted, LimitError, Limits};
use crate::beneath::Root;
use crate::path::{PathError, RelPath};

/// What the headers of one entry may take; a name is far shorter.
const HEADERS: u64 = 1 << 20;

/// How much of a file is copied at once.
const BUFFER: usize = 64 * 1024;

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error(transparent)]
    Limit(#[from] LimitError),
    #[error("the archive is refused: {0}")]
    Path(#[from] PathError),
    #[error("the archive is refused: hard link {0}: {1}")]
    LinkTarget(String, PathError),
    #[error("the archive is refused: {0} is a {1}")]
    Kind(String, &'static str),
    #[error("the archive is refused: {0} comes twice")]
    Twice(String),
    #[error("the archive is refused: {0} leads through a link or a file")]
    Through(String),
    #[error(
        "the archive is refused: {0} has two sizes, {1} in its header and {2} in its PAX record"
    )]
    TwoSizes(String, u64, u64),
    #[error("the archive is cut: {0}")]
    Cut(&'static str),
    #[error("cannot read the archive: {0}")]
    Input(io::Error),
    #[error("cannot write {0}: {1}")]
    Output(String, io::Error),
}

/// Extracts `input` into the directory `into`; what is there after an error is the caller's to remove.
pub fn extract(input: impl Read, into: &Path, limits: &Limits) -> Result<Counted, ReadError> {
    let root = Root::open(into).map_err(|e| ReadError::Output("the directory".into(), e))?;
    let guard = Guard {
        input,
        headers: Rc::default(),
        ended: Rc::default(),
    };
    let (headers, ended) = (guard.headers.clone(), guard.ended.clone());
    let mut archive = tar::Archive::new(guard);
    let mut extraction = Extraction {
        root,
        limits,
        counted: Counted::default(),
        owners: rustix::process::geteuid().is_root(),
        parent: None,
        open: Vec::new(),
        buffer: vec![0; BUFFER],
    };
    {
        let mut entries = archive.entries().map_err(ReadError::Input)?;
        loop {
            headers.set(Some(HEADERS));
            let entry = entries.next();
            headers.set(None);
            match entry {
                Some(Ok(entry)) => extraction.entry(entry)?,
                Some(Err(error)) => return Err(ReadError::Input(error)),
                None => break,
            }
        }
    }
    if ended.get() {
        return Err(ReadError::Cut("its end marker is missing"));
    }
    // Whoever counts or hashes the stream wants all of it.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(ReadError::Input)?;
    extraction.finish_until(None)?;
    Ok(extraction.counted)
}

/// The stream below the tar reader: bounds the headers and notices the end.
struct Guard<R> {
    input: R,
    /// How many bytes the headers of the coming entry may still take; none while its data is read.
    headers: Rc<Cell<Option<u64>>>,
    ended: Rc<Cell<bool>>,
}

impl<R: Read> Read for Guard<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            self.ended.set(true);
        }
        if let Some(left) = self.headers.get() {
            let Some(left) = left.checked_sub(read as u64) else {
                return Err(io::Error::other("the headers of an entry exceed 1 MiB"));
            };
            self.headers.set(Some(left));
        }
        Ok(read)
    }
}

struct Extraction<'a> {
    root: Root,
    limits: &'a Limits,
    counted: Counted,
    /// Only root gives files away.
    owners: bool,
    /// The directory of the last entry, which is often that of the next.
    parent: Option<(RelPath, OwnedFd)>,
    /// Directories on the way down: their modes and times are set once they are left, because a directory that
    /// may not be written cannot be filled.
    open: Vec<(RelPath, Attributes)>,
    /// The data of a file on its way.
    buffer: Vec<u8>,
}

/// What an entry says about itself beside its content.
#[derive(Clone)]
struct Attributes {
    mode: Mode,
    uid: Uid,
    gid: Gid,
    times: Timestamps,
}

impl Extraction<'_> {
    fn entry<R: Read>(&mut self, mut entry: Entry<'_, R>) -> Result<(), ReadError> {
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            io::copy(&mut entry, &mut io::sink()).map_err(ReadError::Input)?;
            return Ok(());
        }
        let path = RelPath::parse(&entry.path_bytes())?;
        let size = check_size(&mut entry, &path)?;
        if let Some(refused) = refused_kind(kind) {
            return Err(ReadError::Kind(path.to_string(), refused));
        }
        let Some((parent, name)) = path.split() else {
            // `./`, which other tools write first.
            return match kind {
                EntryType::Directory => Ok(()),
                _ => Err(ReadError::Kind(
                    path.to_string(),
                    "file in place of the root",
                )),
            };
        };
        self.finish_until(Some(&path))?;
        let is_file = matches!(kind, EntryType::Regular | EntryType::Continuous);
        let bytes = if is_file { size } else { 0 };
        self.counted
            .add(kind == EntryType::Directory, bytes, self.limits)?;
        let attributes = attributes(&mut entry)?;
        self.enter(&parent, &path)?;
        let Some((_, dir)) = &self.parent else {
            return Err(ReadError::Through(path.to_string()));
        };
        let failed = |error: Errno| match error {
            Errno::EXIST => ReadError::Twice(path.to_string()),
            error => ReadError::Output(path.to_string(), error.into()),
        };
        match kind {
            EntryType::Directory => {
                rustix::fs::mkdirat(dir, name, Mode::RWXU).map_err(failed)?;
                self.open.push((path, attributes));
            }
            EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                rustix::fs::symlinkat(&*target, dir, name).map_err(failed)?;
                self.set_link(dir, name, &attributes).map_err(failed)?;
            }
            EntryType::Link => self.hard_link(&entry, dir, &path, name)?,
            _ => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                let fd = rustix::fs::openat(dir, name, flags, Mode::RUSR | Mode::WUSR)
                    .map_err(failed)?;
                let mut file = File::from(fd);
                copy(&mut entry, &mut file, size, &path, &mut self.buffer)?;
                self.set(&file, &attributes).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// Opens the directory that holds the next entry, unless it is open.
    fn enter(&mut self, parent: &RelPath, path: &RelPath) -> Result<(), ReadError> {
        if self.parent.as_ref().is_some_and(|(open, _)| open == parent) {
            return Ok(());
        }
        let dir = match self.root.dir(parent) {
            // Archives of others may leave directories out.
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.root.make_dirs(parent),
            result => result,
        };
        let dir = dir.map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => ReadError::Through(path.to_string()),
            _ => ReadError::Output(path.to_string(), error),
        })?;
        self.parent = Some((parent.clone(), dir));
        Ok(())
    }

    fn hard_link<R: Read>(
        &self,
        entry: &Entry<'_, R>,
        dir: &OwnedFd,
        path: &RelPath,
        name: &[u8],
    ) -> Result<(), ReadError> {
        let target = entry.link_name_bytes().unwrap_or_default();
        let target = RelPath::parse(&target)
            .map_err(|error| ReadError::LinkTarget(path.to_string(), error))?;
        let output = |error: io::Error| match Errno::from_io_error(&error) {
            Some(Errno::LOOP | Errno::NOTDIR | Errno::XDEV) => ReadError::Through(path.to_string()),
            Some(Errno::EXIST) => ReadError::Twice(path.to_string()),
            _ => ReadError::Output(path.to_string(), error),
        };
        let (target_dir, target_name) = target
            .split()
            .ok_or_else(|| ReadError::Kind(path.to_string(), "link to the root"))?;
        let target_dir = self.root.dir(&target_dir).map_err(output)?;
        rustix::fs::linkat(&target_dir, target_name, dir, name, AtFlags::empty())
            .map_err(|error| output(error.into()))
    }

    /// Sets modes and times of the directories that `path` does not lie in.
    fn finish_until(&mut self, path: Option<&RelPath>) -> Result<(), ReadError> {
        while let Some((dir, attributes)) = self.open.last() {
            if path.is_some_and(|path| path != dir && path.is_within(dir)) {
                break;
            }
            let failed = |error: io::Error| ReadError::Output(dir.to_string(), error);
            let fd = self.root.dir(dir).map_err(failed)?;
            self.set(&fd, attributes)
                .map_err(|error| failed(error.into()))?;
            self.open.pop();
        }
        Ok(())
    }

    /// Sets owner, mode and times through the handle: no name is looked up again. The owner comes first because
    /// giving a file away clears its setuid bit.
    fn set(&self, fd: impl AsFd, attributes: &Attributes) -> Result<(), Errno> {
        if self.owners {
            rustix::fs::fchown(&fd, Some(attributes.uid), Some(attributes.gid))?;
        }
        rustix::fs::fchmod(&fd, attributes.mode)?;
        rustix::fs::futimens(&fd, &attributes.times)
    }

    /// A link has no mode of its own.
    fn set_link(&self, dir: &OwnedFd, name: &[u8], attributes: &Attributes) -> Result<(), Errno> {
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        if self.owners {
            let (uid, gid) = (Some(attributes.uid), Some(attributes.gid));
            rustix::fs::chownat(dir, name, uid, gid, flags)?;
        }
        rustix::fs::utimensat(dir, name, &attributes.times, flags)
    }
}

/// What is neither a file nor a directory nor a link.
fn refused_kind(kind: EntryType) -> Option<&'static str> {
    match kind {
        EntryType::Regular
        | EntryType::Continuous
        | EntryType::Directory
        | EntryType::Symlink
        | EntryType::Link => None,
        EntryType::Char | EntryType::Block => Some("device"),
        EntryType::Fifo => Some("pipe"),
        EntryType::GNUSparse => Some("sparse file"),
        _ => Some("entry of an unknown kind"),
    }
}

/// The size of an entry; one with two is read differently by different readers and is refused.
fn check_size<R: Read>(entry: &mut Entry<'_, R>, path: &RelPath) -> Result<u64, ReadError> {
    let header = entry.header().entry_size().map_err(ReadError::Input)?;
    let size = entry.size();
    if header != 0 && header != size {
        return Err(ReadError::TwoSizes(path.to_string(), header, size));
    }
    Ok(size)
}

fn attributes<R: Read>(entry: &mut Entry<'_, R>) -> Result<Attributes, ReadError> {
    let header = entry.header();
    let mode = header.mode().map_err(ReadError::Input)?;
    let id = |id: u64| u32::try_from(id).unwrap_or(u32::MAX - 1);
    let uid = id(header.uid().map_err(ReadError::Input)?);
    let gid = id(header.gid().map_err(ReadError::Input)?);
    let mut time = Timespec {
        tv_sec: header
            .mtime()
            .map_err(ReadError::Input)?
            .min(i64::MAX as u64) as i64,
        tv_nsec: 0,
    };
    if let Some(records) = entry.pax_extensions().map_err(ReadError::Input)? {
        for record in records {
            let record = record.map_err(ReadError::Input)?;
            if record.key_bytes() == b"mtime"
                && let Some(exact) = record.value().ok().and_then(timespec)
            {
                time = exact;
            }
        }
    }
    Ok(Attributes {
        mode: Mode::from_raw_mode(mode & 0o7777),
        uid: Uid::from_raw(uid),
        gid: Gid::from_raw(gid),
        times: Timestamps {
            last_access: time,
            last_modification: time,
        },
    })
}

/// A time as PAX writes it.
fn timespec(text: &str) -> Option<Timespec> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (secs, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let secs: i64 = secs.parse().ok()?;
    let nanos: i64 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    Some(match (negative, nanos) {
        (false, _) => Timespec {
            tv_sec: secs,
            tv_nsec: nanos,
        },
        (true, 0) => Timespec {
            tv_sec: -secs,
            tv_nsec: 0,
        },
        (true, _) => Timespec {
            tv_sec: -secs - 1,
            tv_nsec: 1_000_000_000 - nanos,
        },
    })
}

/// Copies the data of a file, all of it.
fn copy(
    from: &mut impl Read,
    to: &mut File,
    size: u64,
    path: &RelPath,
    buffer: &mut [u8],
) -> Result<(), ReadError> {
    let mut copied = 0;
    loop {
        let read = match from.read(buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ReadError::Input(error)),
        };
        io::Write::write_all(to, &buffer[..read])
            .map_err(|error| ReadError::Output(path.to_string(), error))?;
        copied += read as u64;
    }
    if copied < size {
        return Err(ReadError::Cut("a file ends before its size"));
    }
    Ok(())
}
