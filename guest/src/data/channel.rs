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
    let writer = PipeWriter {
        full,
        emptied,
        buffer: Vec::with_capacity(BUFFER),
    };
    let reader = PipeReader {
        filled,
        empty,
        buffer: Vec::new(),
        read: 0,
    };
    (writer, reader)
}

/// The side that writes.
#[derive(Debug)]
pub struct PipeWriter {
    full: threads::SyncSender<io::Result<Vec<u8>>>,
    emptied: threads::Receiver<Vec<u8>>,
    buffer: Vec<u8>,
}

impl PipeWriter {
    /// Ends the pipe with an error, which the other side gets in place of the end.
    pub fn fail(self, error: io::Error) {
        // Whoever stopped reading needs no reason.
        let _ = self.full.send(Err(error));
    }
}

impl Write for PipeWriter {
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
        let next = self.emptied.try_recv();
        let next = next.unwrap_or_else(|_| Vec::with_capacity(BUFFER));
        let full = std::mem::replace(&mut self.buffer, next);
        self.full
            .send(Ok(full))
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
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

/// Gives what is written to the other side, a buffer at a time.
#[derive(Debug)]
pub struct ChannelWriter {
    sender: Sender<Vec<u8>>,
    buffer: Vec<u8>,
}

impl ChannelWriter {
    pub fn new(sender: Sender<Vec<u8>>) -> Self {
        Self {
            sender,
            buffer: Vec::with_capacity(BUFFER),
        }
    }
}

impl Write for ChannelWriter {
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
        let full = std::mem::replace(&mut self.buffer, Vec::with_capacity(BUFFER));
        self.sender
            .blocking_send(full)
            .map_err(|_| io::ErrorKind::BrokenPipe.into())
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
