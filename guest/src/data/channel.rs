//! A pipe between threads that holds a bounded number of buffers.

use std::io::{self, Read, Write};

use tokio::sync::mpsc::{Receiver, Sender};

const BUFFER: usize = 256 * 1024;

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

/// Reads what the other side gives.
#[derive(Debug)]
pub struct ChannelReader<B> {
    receiver: Receiver<B>,
    chunk: Option<B>,
    read: usize,
}

impl<B: AsRef<[u8]>> ChannelReader<B> {
    pub fn new(receiver: Receiver<B>) -> Self {
        Self {
            receiver,
            chunk: None,
            read: 0,
        }
    }
}

impl<B: AsRef<[u8]>> Read for ChannelReader<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(chunk) = &self.chunk {
                let left = &chunk.as_ref()[self.read..];
                if !left.is_empty() {
                    let len = left.len().min(buffer.len());
                    buffer[..len].copy_from_slice(&left[..len]);
                    self.read += len;
                    return Ok(len);
                }
            }
            match self.receiver.blocking_recv() {
                Some(chunk) => {
                    self.chunk = Some(chunk);
                    self.read = 0;
                }
                None => return Ok(0),
            }
        }
    }
}
