//! Pipes between threads that hold a bounded number of buffers.

use std::fs::File;
use std::io::{self, BufRead, Read, Write};
use std::sync::mpsc as threads;

use bytes::{Buf, Bytes};
use tokio::sync::mpsc::{Receiver, Sender};

const BUFFER: usize = 256 * 1024;

/// Buffers between two threads.
pub const BUFFERS: usize = 8;

/// Makes a pipe between two threads. Its buffers go back to be filled again: memory that is new costs more than what
/// is written to it.
pub fn pipe() -> (PipeWriter, PipeReader) {
    let (full, filled) = threads::sync_channel(BUFFERS);
    let (empty, emptied) = threads::channel();
    let writer = Filling::new(PipeEnd { full, emptied });
    let reader = PipeReader {
        filled,
        empty,
        buffer: Vec::new(),
        read: 0,
    };
    (writer, reader)
}

/// Collects what is written, and gives it on a buffer at a time.
#[derive(Debug)]
pub struct Filling<T> {
    to: T,
    buffer: Vec<u8>,
}

/// Where full buffers go.
pub trait Give {
    /// Takes a full buffer, and returns one to fill.
    fn give(&mut self, full: Vec<u8>) -> Result<Vec<u8>, Gone>;
}

/// Nobody reads any more.
#[derive(Debug)]
pub struct Gone;

impl<T> Filling<T> {
    pub fn new(to: T) -> Self {
        Self {
            to,
            buffer: Vec::with_capacity(BUFFER),
        }
    }
}

impl<T: Give> Write for Filling<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BUFFER - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        if self.buffer.len() == BUFFER {
            self.flush()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let full = std::mem::take(&mut self.buffer);
        self.buffer = self
            .to
            .give(full)
            .map_err(|Gone| io::ErrorKind::BrokenPipe)?;
        Ok(())
    }
}

/// The side of a pipe that writes.
pub type PipeWriter = Filling<PipeEnd>;

/// The other side of a pipe, as its writer sees it.
#[derive(Debug)]
pub struct PipeEnd {
    full: threads::SyncSender<io::Result<Vec<u8>>>,
    emptied: threads::Receiver<Vec<u8>>,
}

impl Give for PipeEnd {
    fn give(&mut self, full: Vec<u8>) -> Result<Vec<u8>, Gone> {
        let next = self.emptied.try_recv();
        self.full.send(Ok(full)).map_err(|_| Gone)?;
        Ok(next.unwrap_or_else(|_| Vec::with_capacity(BUFFER)))
    }
}

impl PipeWriter {
    /// Ends the pipe with an error, which the other side gets in place of the end.
    pub fn fail(self, error: io::Error) {
        // A reader that is gone needs no reason.
        let _ = self.to.full.send(Err(error));
    }
}

/// The side that reads.
#[derive(Debug)]
pub struct PipeReader {
    filled: threads::Receiver<io::Result<Vec<u8>>>,
    empty: threads::Sender<Vec<u8>>,
    buffer: Vec<u8>,
    read: usize,
}

impl BufRead for PipeReader {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.read == self.buffer.len() {
            let next = self.filled.recv().unwrap_or(Ok(Vec::new()))?;
            let mut used = std::mem::replace(&mut self.buffer, next);
            self.read = 0;
            if used.capacity() > 0 {
                used.clear();
                // A writer that ended fills none.
                let _ = self.empty.send(used);
            }
        }
        Ok(&self.buffer[self.read..])
    }

    fn consume(&mut self, amount: usize) {
        self.read += amount;
    }
}

impl Read for PipeReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let there = self.fill_buf()?;
        let len = there.len().min(buffer.len());
        buffer[..len].copy_from_slice(&there[..len]);
        self.consume(len);
        Ok(len)
    }
}

/// The side of a channel that writes.
pub type ChannelWriter = Filling<Sender<Vec<u8>>>;

impl Give for Sender<Vec<u8>> {
    fn give(&mut self, full: Vec<u8>) -> Result<Vec<u8>, Gone> {
        self.blocking_send(full).map_err(|_| Gone)?;
        Ok(Vec::with_capacity(BUFFER))
    }
}

/// What a store gives: bytes, or a file from where it stands to its end.
#[derive(Debug)]
pub enum Chunk {
    Bytes(Bytes),
    File(File),
}

/// Reads what the other side gives.
#[derive(Debug)]
pub struct ChannelReader {
    receiver: Receiver<Chunk>,
    chunk: Chunk,
}

impl ChannelReader {
    pub fn new(receiver: Receiver<Chunk>) -> Self {
        Self {
            receiver,
            chunk: Chunk::Bytes(Bytes::new()),
        }
    }
}

impl Read for ChannelReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = match &mut self.chunk {
                Chunk::Bytes(bytes) => bytes.reader().read(buffer)?,
                Chunk::File(file) => file.read(buffer)?,
            };
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            match self.receiver.blocking_recv() {
                Some(next) => self.chunk = next,
                None => return Ok(0),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_out_and_then_the_error() {
        let content: Vec<u8> = (0..3_000_000_u32).map(|n| (n / 7) as u8).collect();
        let (mut writer, mut reader) = pipe();
        let sent = content.clone();
        let writing = std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.flush().unwrap();
            writer.fail(io::Error::other("cut"));
        });
        let mut read = Vec::new();
        let error = reader.read_to_end(&mut read).unwrap_err();
        assert_eq!(error.to_string(), "cut");
        assert!(read == content);
        writing.join().unwrap();
    }

    #[test]
    fn a_writer_whose_reader_is_gone_fails() {
        let (mut writer, reader) = pipe();
        drop(reader);
        let error = writer.write_all(&[0; BUFFER]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
