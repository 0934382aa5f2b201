//! Runs a command in a container of a pod.

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::AttachParams;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until, timeout_at};
use tracing::debug;

use super::Actor;
use crate::action::Command;
use crate::error::Error;
use crate::retry::Backoff;

/// Most bytes that are read of the output.
const LONGEST: u64 = 64 << 10;
/// First and longest pause after a connection that was cut.
const BACKOFF: Backoff = Backoff::millis(200, 5_000);

impl Actor {
    /// Runs a command that may be repeated, and returns what it printed. A connection that is cut before its end says nothing
    /// about it, so the command runs again until `deadline`.
    ///
    /// # Errors
    /// [`Error::Denied`] without the right to; [`Error::Unavailable`] if the command cannot be run, or fails and prints
    /// nothing; [`Error::Deadline`] when `deadline` came first.
    pub async fn run(&self, command: &Command, deadline: Instant) -> Result<String, Error> {
        let mut count = 0;
        loop {
            let once = timeout_at(deadline, self.run_once(command));
            let late = |_| Error::Deadline {
                doing: format!("running {}", command.doing),
            };
            match once.await.map_err(late)?? {
                Some(output) => return Ok(output),
                None => debug!(
                    pod = command.pod.name,
                    "the connection was cut: running it again"
                ),
            }
            sleep_until((Instant::now() + BACKOFF.after(count)).min(deadline)).await;
            count += 1;
        }
    }

    /// Returns nothing if the outcome is unknown.
    async fn run_once(&self, command: &Command) -> Result<Option<String>, Error> {
        let doing = &command.doing;
        let pods: Api<Pod> = Api::namespaced(self.client.kube().clone(), &self.namespace);
        let params = AttachParams::default()
            .container(command.container)
            .stderr(false);
        let running = pods.exec(&command.pod.name, &command.argv, &params).await;
        let mut running = running.map_err(|error| refusal(doing, &error))?;
        let status = running.take_status();
        let mut output = String::new();
        if let Some(stdout) = running.stdout() {
            // What was printed before a cut counts only with a status.
            let _ = stdout.take(LONGEST).read_to_string(&mut output).await;
        }
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        running.abort();
        let Some(status) = status else {
            return Ok(None);
        };
        let succeeded = status.status.as_deref() == Some("Success");
        match succeeded || !output.is_empty() {
            true => Ok(Some(output)),
            false => Err(Error::Unavailable {
                why: format!("{doing}: {}", status.message.unwrap_or_default()),
                retry_after: None,
            }),
        }
    }
}

fn refusal(doing: &str, error: &kube::Error) -> Error {
    let why = format!("{doing}: {error}");
    match error {
        kube::Error::Api(status) if status.code == 403 => Error::Denied { why },
        _ => Error::Unavailable {
            why,
            retry_after: None,
        },
    }
}
