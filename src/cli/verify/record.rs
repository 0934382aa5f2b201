//! Keeps the observations of all consumers in one order: checked at once, and written to a file on request.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::history::{Checker, Counts, Observation, Saw, Violation};

/// Interval between two checks whether everything has arrived.
const LOOK: Duration = Duration::from_millis(250);

/// The record of all consumers of a run.
#[derive(Debug, Clone)]
pub struct Recorder(Arc<Mutex<Record>>);

#[derive(Debug)]
struct Record {
    checker: Checker,
    file: Option<BufWriter<File>>,
    /// The first failed write.
    failed: Option<io::Error>,
    violations: mpsc::UnboundedSender<Violation>,
}

impl Recorder {
    /// Starts a record, also in a file, and returns the violations as they are found.
    ///
    /// # Errors
    /// If the file cannot be created.
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

    /// Records an observation of a consumer.
    pub fn record(&self, who: &str, saw: Saw) {
        let mut record = self.lock();
        // The time is read under the lock, so that it matches the order.
        let observation = Observation {
            at: Timestamp::now(),
            who: who.to_owned(),
            saw,
        };
        record.write(&observation);
        for violation in record.checker.observe(&observation) {
            // The receiver may be dropped at the end.
            let _ = record.violations.send(violation);
        }
    }

    /// Waits until `settled` would show no violation, for at most `timeout`.
    pub async fn wait_for(&self, settled: &Saw, timeout: Duration) {
        let end = Instant::now() + timeout;
        while Instant::now() < end && !self.is_settled(settled) {
            tokio::time::sleep(LOOK).await;
        }
    }

    fn is_settled(&self, settled: &Saw) -> bool {
        // A settled history reports what is missing once, so a copy is used.
        let mut checker = self.lock().checker.clone();
        let observation = Observation {
            at: Timestamp::now(),
            who: String::new(),
            saw: settled.clone(),
        };
        checker.observe(&observation).is_empty()
    }

    pub fn counts(&self) -> Counts {
        self.lock().checker.counts()
    }

    /// Ends the record and returns the counts.
    ///
    /// # Errors
    /// If a write failed.
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
        // After a panic elsewhere the record is short, not wrong.
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
