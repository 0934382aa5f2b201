//! The event trace log (`manager.eventTraceLog`): what statuses were folded from and what was decided, a line each.
//!
//! It observes the index: what it wants is put into a bounded queue, and a task of its own redacts and writes. A full
//! queue or a disk that fails costs lines, never time; how many is said in the log itself.

pub mod entry;
mod file;
mod redaction;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::index::observer::{Decided, Folded, Observer, Seen};
use crate::workspaces::entry::Workspace;
use crate::workspaces::update::StatusUpdate;
use file::{Append, LogFile};
pub use redaction::REDACTED;

/// Entries that wait to be written: some seconds of a busy daemon.
const QUEUE: usize = 8192;
/// Entries that are written at once.
const BATCH: usize = 256;
/// Bytes of a file before it is put aside. Its predecessor is kept, so the log takes at most twice that.
const CAP: u64 = 64 << 20;

/// What is to be written.
#[derive(Debug)]
enum Item {
    Status(Box<Folded<Workspace>>),
    Ended(Box<StatusUpdate>),
    Decision(Box<Decided<Workspace>>),
}

/// The observer: puts into the queue and counts what finds no room.
#[derive(Debug)]
struct TraceLog {
    queue: mpsc::Sender<(Timestamp, Item)>,
    dropped: Arc<AtomicU64>,
    clock: Clock,
}

impl Observer<Workspace> for TraceLog {
    fn see(&self, seen: &Seen<'_, Workspace>) {
        let item = match seen {
            // Each is in the lines of what came of it.
            Seen::Input(_) | Seen::Clock(_) => return,
            Seen::Status(folded) => Item::Status(Box::new(Folded::clone(folded))),
            Seen::Ended(update) => Item::Ended(Box::new(StatusUpdate::clone(update))),
            Seen::Decision(decided) => Item::Decision(Box::new(Decided::clone(decided))),
        };
        if self.queue.try_send((self.clock.now(), item)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The task that writes.
#[derive(Debug)]
pub struct Writing {
    end: CancellationToken,
    task: AbortOnDropHandle<()>,
}

impl Writing {
    /// Writes what is left, for at most `limit`.
    pub async fn finish(self, limit: Duration) {
        self.end.cancel();
        let _ = tokio::time::timeout(limit, self.task).await;
    }
}

/// Starts an event trace log. `target` is a path, or "-" for the log of the process.
pub fn start(target: &str, clock: Clock) -> (Arc<dyn Observer<Workspace>>, Writing) {
    let sink: Box<dyn Append> = match target {
        "-" => Box::new(ProcessLog),
        path => Box::new(LogFile::new(path.into(), CAP)),
    };
    start_on(sink, target.to_owned(), clock, QUEUE)
}

fn start_on(
    sink: Box<dyn Append>,
    target: String,
    clock: Clock,
    room: usize,
) -> (Arc<dyn Observer<Workspace>>, Writing) {
    let (queue, items) = mpsc::channel(room);
    let dropped = Arc::new(AtomicU64::new(0));
    let writer = Writer {
        sink,
        target,
        clock: clock.clone(),
        dropped: Arc::clone(&dropped),
        failing: false,
    };
    let end = CancellationToken::new();
    let task = tokio::spawn(write(writer, items, end.clone()));
    let observer = TraceLog {
        queue,
        dropped,
        clock,
    };
    let writing = Writing {
        end,
        task: AbortOnDropHandle::new(task),
    };
    (Arc::new(observer), writing)
}

/// Takes entries from the queue and writes them, on a thread that may wait for a disk.
async fn write(
    mut writer: Writer,
    mut items: mpsc::Receiver<(Timestamp, Item)>,
    end: CancellationToken,
) {
    loop {
        let mut batch = Vec::new();
        tokio::select! {
            biased;
            count = items.recv_many(&mut batch, BATCH) => if count == 0 { return },
            () = end.cancelled() => return,
        }
        let written = tokio::task::spawn_blocking(move || {
            writer.write(&batch);
            writer
        });
        match written.await {
            Ok(back) => writer = back,
            Err(error) => {
                warn!(%error, "the event trace log has ended");
                return;
            }
        }
    }
}

/// Where lines go, and how that goes.
#[derive(Debug)]
struct Writer {
    sink: Box<dyn Append>,
    target: String,
    clock: Clock,
    dropped: Arc<AtomicU64>,
    failing: bool,
}

impl Writer {
    fn write(&mut self, batch: &[(Timestamp, Item)]) {
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let mut lines = Vec::with_capacity(batch.len() + 1);
        if dropped > 0 {
            lines.push(entry::dropped(self.clock.now(), dropped));
        }
        lines.extend(batch.iter().map(|(at, item)| match item {
            Item::Status(folded) => entry::status(*at, folded),
            Item::Ended(update) => entry::ended(*at, update),
            Item::Decision(decided) => entry::decision(*at, decided),
        }));
        let error = match self.sink.append(&lines) {
            Ok(()) if self.failing => {
                self.failing = false;
                info!(
                    path = self.target,
                    dropped, "the event trace log is written again"
                );
                return;
            }
            Ok(()) => return,
            Err(error) => error,
        };
        self.dropped
            .fetch_add(dropped + batch.len() as u64, Ordering::Relaxed);
        if !std::mem::replace(&mut self.failing, true) {
            warn!(
                path = self.target,
                %error,
                "cannot write the event trace log: its lines are counted and dropped until it can be written"
            );
        }
    }
}

/// The log of the process: an entry is a record of it.
#[derive(Debug)]
struct ProcessLog;

impl Append for ProcessLog {
    fn append(&mut self, lines: &[String]) -> std::io::Result<()> {
        for line in lines {
            info!(evt = line, "event trace log");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
