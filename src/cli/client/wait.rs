//! Waits for workspaces to reach a state: with a timeout, over lost connections, and until Ctrl-C.

use std::time::Duration;

use tokio::time::Instant;

use super::follow::{Event, Follow};
use super::words;
use super::words::parse_duration;
use crate::cli::alive;
use crate::cli::exit::{Exit, Failure, note, sentence};
use crate::proto::wsman::WorkspaceStatus;

/// Whether to wait, and for how long.
#[derive(Debug, clap::Args)]
pub(super) struct Wait {
    /// Wait until it is done, and exit with 1 if it cannot be any more.
    #[arg(long)]
    pub(super) wait: bool,

    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = parse_duration)]
    pub(super) wait_timeout: Duration,
}

impl Wait {
    /// Passes every event to `look` until that returns `Some`. Lost connections are reported and retried. `goal` is
    /// what it waits for, `remains` what a user leaves behind by not waiting.
    pub(super) async fn until<T>(
        &self,
        follow: &mut Follow,
        goal: &str,
        remains: &str,
        mut look: impl FnMut(Event) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.wait_timeout;
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        let mut last = String::new();
        loop {
            let event = tokio::select! {
                // In this order, Ctrl-C is handled before anything is printed.
                biased;
                _ = &mut interrupt => {
                    return Err(Failure::new(Exit::Failed, "interrupted").hint(remains));
                }
                () = tokio::time::sleep_until(deadline) => {
                    let message = format!("gave up waiting after {:?}", self.wait_timeout);
                    return Err(Failure::new(Exit::Failed, message).hint(remains));
                }
                event = alive::during(|| format!("waiting for {goal}{last}"), follow.next()) => event?,
            };
            if let Event::Initial(status) | Event::Gone(status) = &event {
                last = state(status);
            } else if let Event::Update { now, .. } = &event {
                last = state(now);
            }
            report_cut(&event);
            if let Some(done) = look(event)? {
                return Ok(done);
            }
        }
    }
}

fn state(status: &WorkspaceStatus) -> String {
    let (phase, message) = (words::phase(status), words::message(status));
    match message.is_empty() {
        true => format!("; {} is {phase}", status.id),
        false => format!("; {} is {phase}: {message}", status.id),
    }
}

/// Prints on standard error that the stream was lost, or is open again.
pub(super) fn report_cut(event: &Event) {
    match event {
        Event::Cut(Some(error)) => {
            note(&format!(
                "stream lost: {}; reconnecting",
                sentence(&error.status)
            ));
        }
        Event::Cut(None) => note("stream ended by the server; reconnecting"),
        Event::Resumed => note("reconnected"),
        _ => {}
    }
}
