//! Keeps what all consumers saw in one order: checked at once, and written down where that is wanted.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::history::{Checker, Counts, Observation, Saw, Violation};

/// Between two looks at whether everything has arrived.
const LOOK: Duration = Duration::from_millis(250);

/// The record that all consumers of a run share.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Mutex<Record>>);

#[derive(Debug)]
struct Record {
    checker: Checker,
    file: Option<BufWriter<File>>,
    /// The first failure to write.
    failed: Option<io::Error>,
    violations: mpsc::UnboundedSender<Violation>,
}

impl Recorder {
    /// Starts a record, also in a file if one is named. Returns the violations, as they are found.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn start(
        file: Option<&Path>,
        checker: Checker,
    ) -> io::Result<(Self, mpsc::UnboundedReceiver<Violation>)> {
        let file = file.map(File::create).transpose()?.map(BufWriter::new);
        let (violations, found) = mpsc::unbounded_channel();
        let record = Record {
            checker,
            file,
            failed: None,
            violations,
        };
        Ok((Self(Arc::new(Mutex::new(record))), found))
    }

    /// Records what a consumer saw just now.
    pub fn record(&self, who: &str, saw: Saw) {
        let mut record = self.lock();
        // The time is taken under the lock, so that it never runs against the order.
        let observation = Observation {
            at: Timestamp::now(),
            who: who.to_owned(),
            saw,
        };
        record.write(&observation);
        for violation in record.checker.observe(&observation) {
            // Whoever counts them may be gone at the end.
            let _ = record.violations.send(violation);
        }
    }

    /// Waits until taking in `settled` would show nothing violated, for at most `limit`.
    pub async fn wait_for(&self, settled: &Saw, limit: Duration) {
        let end = Instant::now() + limit;
        while Instant::now() < end && !self.is_settled(settled) {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn is_settled(&self, settled: &Saw) -> bool {
        // What a settled history shows to be missing is said once, so a copy is asked.
        let mut checker = self.lock().checker.clone();
        let observation = Observation {
            at: Timestamp::now(),
            who: String::new(),
            saw: settled.clone(),
        };
        checker.observe(&observation).is_empty()
    }

    /// How much was seen so far.
    pub fn counts(&self) -> Counts {
        self.lock().checker.counts()
    }

    /// Ends the record and returns how much was seen.
    ///
    /// # Errors
    /// If something could not be written.
    pub fn finish(&self) -> io::Result<Counts> {
        let mut record = self.lock();
        for violation in record.checker.finish() {
            let _ = record.violations.send(violation);
        }
        if let Some(file) = &mut record.file {
            file.flush()?;
        }
        match record.failed.take() {
            Some(error) => Err(error),
            None => Ok(record.checker.counts()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Record> {
        // A panic elsewhere leaves the record short, not wrong.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn write(&mut self, observation: &Observation) {
        let Some(file) = &mut self.file else { return };
        let written = serde_json::to_writer(&mut *file, observation)
            .map_err(io::Error::from)
            .and_then(|()| file.write_all(b"\n"));
        if let Err(error) = written {
            self.failed.get_or_insert(error);
            self.file = None;
        }
    }
}
