//! Saves the logs of a session that ended: a file per component that wrote something, and the end of the decider's.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

use super::super::super::connect::Connection;
use super::super::logs::{Event, Logs};
use crate::cli::exit::{Exit, Failure, note};
use crate::names::is_dns_label;
use crate::proto::wsman::sessions::v1::{LogsRequest, LogsResponse};

/// Lines of a log's end.
const TAIL: usize = 50;

/// What to save of a session.
#[derive(Debug)]
pub(super) struct Save {
    /// Id of the session.
    pub(super) id: String,
    /// Directory of all sessions; none for the end of the decider's log only.
    pub(super) folder: Option<PathBuf>,
    /// Name of the decider.
    pub(super) decider: Option<String>,
}

impl Save {
    /// Reads the logs to their end. Returns the end of the decider's.
    pub(super) async fn run(self, connection: &Connection) -> Result<String, Failure> {
        let components = match (&self.folder, &self.decider) {
            (None, Some(decider)) => vec![decider.clone()],
            _ => Vec::new(),
        };
        let mut logs = Logs::new(LogsRequest {
            id: self.id.clone(),
            components,
            ..LogsRequest::default()
        });
        let mut files = BTreeMap::new();
        let mut tail = VecDeque::new();
        while let Some(event) = logs.next(connection).await? {
            let Event::Line(line) = event else { continue };
            let name = line.position.as_ref().map_or("", |at| &at.component);
            if line.gap {
                note(&format!("{}: lines of {name} are missing", self.id));
            }
            if self.decider.as_deref() == Some(name) {
                if tail.len() == TAIL {
                    tail.pop_front();
                }
                tail.push_back(line.text.clone());
            }
            self.write(&line, &mut files)
                .map_err(|error| self.unwritten(&error))?;
        }
        for mut file in files.into_values() {
            file.flush().map_err(|error| self.unwritten(&error))?;
        }
        Ok(Vec::from(tail).join("\n"))
    }

    fn write(
        &self,
        line: &LogsResponse,
        files: &mut BTreeMap<String, BufWriter<File>>,
    ) -> io::Result<()> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let name = line.position.as_ref().map_or("", |at| &at.component);
        // They become names of files.
        if ![name, &self.id].into_iter().all(is_dns_label) {
            let why = format!("{name:?} of {:?} is no DNS label", self.id);
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if !files.contains_key(name) {
            let folder = folder.join(&self.id);
            fs::create_dir_all(&folder)?;
            let file = File::create(folder.join(format!("{name}.log")))?;
            files.insert(name.to_owned(), BufWriter::new(file));
        }
        match files.get_mut(name) {
            Some(file) => writeln!(file, "{}", line.text),
            None => Ok(()),
        }
    }

    fn unwritten(&self, error: &io::Error) -> Failure {
        let folder = self.folder.clone().unwrap_or_default();
        let message = format!("cannot write logs to {}: {error}", folder.display());
        Failure::new(Exit::Failed, message)
    }
}
