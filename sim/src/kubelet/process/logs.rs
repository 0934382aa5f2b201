//! The log files of containers: each run of a container has one, in the format of the CRI: time, stream, whether the line
//! is whole (`F`) or continues (`P`), text.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use jiff::Timestamp;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::watch;

use crate::logs::Selection;

/// A file that becomes longer is put aside, once: the newest lines are kept.
const FILE_LIMIT: u64 = 10 * 1024 * 1024;
/// A longer line is written in parts.
const LINE_LIMIT: usize = 16 * 1024;
/// Most bytes of a termination message.
const MESSAGE_LIMIT: usize = 4096;
/// Most bytes and lines of a log that become a termination message.
const FALLBACK: (usize, usize) = (2048, 80);
/// Most bytes that are read before they are sent.
const CHUNK: usize = 32 * 1024;

/// How far a log was written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Progress {
    bytes: u64,
    rotations: u32,
}

/// The file of a run; `previous` runs have lower numbers.
pub(crate) fn path(home: &Path, run: i32) -> PathBuf {
    home.join("logs").join(format!("{run}.log"))
}

/// Writes the log of a run.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    file: Mutex<File>,
    limit: u64,
    progress: watch::Sender<Progress>,
}

impl Writer {
    /// Starts the log of a run; those before the previous one are removed.
    pub(crate) fn create(home: &Path, run: i32) -> io::Result<Writer> {
        super::directories::create(&home.join("logs"))?;
        // Each start removes one; more may be left by a start that failed.
        for old in (0..run - 1).rev().take(8) {
            let _ = fs::remove_file(path(home, old));
            let _ = fs::remove_file(aside(&path(home, old)));
        }
        let path = path(home, run);
        let file = open(&path)?;
        let limit = FILE_LIMIT;
        let (progress, _) = watch::channel(Progress::default());
        Ok(Writer {
            path,
            file: Mutex::new(file),
            limit,
            progress,
        })
    }

    /// How far it is written; the sender goes with the writer.
    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Writes what a container writes, until its end.
    pub(crate) async fn copy(&self, stream: &str, output: Option<impl AsyncRead + Unpin>) {
        let Some(mut output) = output else {
            return;
        };
        let mut line = Vec::new();
        let mut chunk = vec![0; 8 * 1024];
        while let Ok(read @ 1..) = output.read(&mut chunk).await {
            let mut rest = &chunk[..read];
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                line.extend_from_slice(&rest[..end]);
                self.write(stream, 'F', &line);
                line.clear();
                rest = &rest[end + 1..];
            }
            line.extend_from_slice(rest);
            while line.len() > LINE_LIMIT {
                let more = line.split_off(LINE_LIMIT);
                self.write(stream, 'P', &line);
                line = more;
            }
        }
        if !line.is_empty() {
            self.write(stream, 'F', &line);
        }
    }

    /// Writes a line. It is short and the disk is local, so this may be called by a task.
    pub(crate) fn write(&self, stream: &str, tag: char, text: &[u8]) {
        let mut line = format!("{} {stream} {tag} ", Timestamp::now()).into_bytes();
        line.extend_from_slice(text);
        line.push(b'\n');
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let mut progress = *self.progress.borrow();
        if let Err(error) = file.write_all(&line) {
            return tracing::debug!(%error, log = %self.path.display(), "a line is lost");
        }
        progress.bytes += u64::try_from(line.len()).unwrap_or(0);
        if progress.bytes > self.limit
            && fs::rename(&self.path, aside(&self.path)).is_ok()
            && let Ok(new) = open(&self.path)
        {
            *file = new;
            progress.bytes = 0;
            progress.rotations += 1;
        }
        self.progress.send_replace(progress);
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .write(true)
        .truncate(true)
        .open(path)
}

fn aside(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// Reads the log of a run, and what follows as long as it is written.
pub(crate) struct Tail {
    path: PathBuf,
    file: BufReader<File>,
    selection: Selection,
    /// Lines to skip, for `tailLines`.
    skip: usize,
    /// Bytes that may still be sent.
    left: usize,
    /// The start of a line whose end is not written yet.
    partial: Vec<u8>,
    /// The last line was not whole, so the next one continues it.
    continues: bool,
    progress: Option<watch::Receiver<Progress>>,
    rotations: u32,
    done: bool,
}

impl Tail {
    /// Opens the log; `progress` if it is followed.
    pub(crate) fn open(
        path: PathBuf,
        selection: Selection,
        progress: Option<watch::Receiver<Progress>>,
    ) -> io::Result<Tail> {
        let rotations = progress.as_ref().map_or(0, |p| p.borrow().rotations);
        let mut file = BufReader::new(File::open(&path)?);
        let skip = match selection.tail {
            None => 0,
            Some(tail) => {
                let mut lines = 0_usize;
                let mut line = Vec::new();
                while file.read_until(b'\n', &mut line)? > 0 {
                    let parsed = Line::parse(&line);
                    lines += usize::from(parsed.is_some_and(|line| line.counts(&selection)));
                    line.clear();
                }
                file.seek(SeekFrom::Start(0))?;
                lines.saturating_sub(tail)
            }
        };
        Ok(Tail {
            path,
            file,
            left: selection.limit.unwrap_or(usize::MAX),
            selection,
            skip,
            partial: Vec::new(),
            continues: false,
            progress,
            rotations,
            done: false,
        })
    }

    /// The next text; none at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while !self.done && self.left > 0 {
            // What was written before this is seen by the reads after it.
            let seen = self.progress.as_mut().map(|progress| {
                let seen = *progress.borrow_and_update();
                (seen, progress.has_changed().is_err())
            });
            let mut text = self.read()?;
            if !text.is_empty() {
                text.truncate(self.left);
                self.left -= text.len();
                return Ok(Some(text.into()));
            }
            match (seen, &mut self.progress) {
                (Some((seen, _)), _) if seen.rotations != self.rotations => {
                    self.rotations = seen.rotations;
                    self.file = BufReader::new(File::open(&self.path)?);
                }
                (Some((_, false)), Some(progress)) => {
                    // Its end is seen in the next round, after a last read.
                    let _ = progress.changed().await;
                }
                _ => self.done = true,
            }
        }
        Ok(None)
    }

    /// Selected text up to the end of the file, or a chunk of it.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        while text.len() < CHUNK {
            if self.file.read_until(b'\n', &mut self.partial)? == 0
                || !self.partial.ends_with(b"\n")
            {
                break;
            }
            let line = std::mem::take(&mut self.partial);
            let Some(line) = Line::parse(&line) else {
                continue;
            };
            if !line.is_new(&self.selection) {
                continue;
            }
            if self.skip > 0 {
                self.skip -= usize::from(line.whole);
                continue;
            }
            if self.selection.timestamps && !self.continues {
                text.extend_from_slice(line.at.as_bytes());
                text.push(b' ');
            }
            text.extend_from_slice(line.text);
            if line.whole {
                text.push(b'\n');
            }
            self.continues = !line.whole;
        }
        Ok(text)
    }
}

/// A line of a log file.
struct Line<'a> {
    at: &'a str,
    whole: bool,
    text: &'a [u8],
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Option<Line<'a>> {
        let mut parts = line.strip_suffix(b"\n")?.splitn(4, |byte| *byte == b' ');
        let at = std::str::from_utf8(parts.next()?).ok()?;
        let (_, tag) = (parts.next()?, parts.next()?);
        Some(Line {
            at,
            whole: tag == b"F",
            text: parts.next()?,
        })
    }

    fn is_new(&self, selection: &Selection) -> bool {
        let at = || self.at.parse::<Timestamp>();
        selection
            .since
            .is_none_or(|since| at().is_ok_and(|at| at >= since))
    }

    fn counts(&self, selection: &Selection) -> bool {
        self.whole && self.is_new(selection)
    }
}

/// The termination message of a container: its file, or the end of its log if that was asked for.
pub(crate) fn termination_message(file: &Path, log: Option<&Path>) -> Option<String> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MESSAGE_LIMIT).unwrap_or(u64::MAX);
    if let Ok(file) = File::open(file) {
        let _ = file.take(limit).read_to_end(&mut bytes);
    }
    if bytes.is_empty()
        && let Some(log) = log
    {
        bytes = last(log).unwrap_or_default();
    }
    (!bytes.is_empty()).then(|| String::from_utf8_lossy(&bytes).into_owned())
}

fn last(log: &Path) -> io::Result<Vec<u8>> {
    let selection = Selection {
        tail: Some(FALLBACK.1),
        ..Selection::default()
    };
    let mut tail = Tail::open(log.to_owned(), selection, None)?;
    let mut text = Vec::new();
    loop {
        let more = tail.read()?;
        if more.is_empty() {
            return Ok(text);
        }
        text.extend_from_slice(&more);
        let skip = text.len().saturating_sub(FALLBACK.0);
        text.drain(..skip);
    }
}

#[cfg(test)]
mod tests;
