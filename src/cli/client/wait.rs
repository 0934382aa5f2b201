//! Waits for workspaces to reach a state: with a timeout, over lost connections, and until Ctrl-C.

use std::time::Duration;

use tokio::time::Instant;

use super::follow::{Event, Follow, Followed};
use super::words::parse_duration;
use crate::cli::alive;
use crate::cli::exit::{Exit, Failure, note, sentence};

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
    /// Waits as [`until`], but not longer than asked for.
    pub(super) async fn until<T: Followed, R>(
        &self,
        follow: &mut Follow<T>,
        goal: &str,
        remains: &str,
        look: impl FnMut(Event<T>) -> Result<Option<R>, Failure>,
    ) -> Result<R, Failure> {
        until(Some(self.wait_timeout), follow, goal, remains, look).await
    }
}

/// Passes every event to `look` until that returns `Some`. Lost connections are reported and retried. `goal` is what it
/// waits for, `remains` what a user leaves behind by not waiting.
pub(super) async fn until<T: Followed, R>(
    timeout: Option<Duration>,
    follow: &mut Follow<T>,
    goal: &str,
    remains: &str,
    mut look: impl FnMut(Event<T>) -> Result<Option<R>, Failure>,
) -> Result<R, Failure> {
    let since = Instant::now();
    let late = async {
        match timeout {
            Some(timeout) => tokio::time::sleep_until(since + timeout).await,
            None => std::future::pending().await,
        }
    };
    let mut late = std::pin::pin!(late);
    let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    let mut last = String::new();
    loop {
        let event = tokio::select! {
            // In this order, Ctrl-C is handled before anything is printed.
            biased;
            _ = &mut interrupt => {
                return Err(Failure::new(Exit::Failed, "interrupted").hint(remains));
            }
            () = &mut late => {
                let message = format!("gave up waiting after {:?}", timeout.unwrap_or_default());
                return Err(Failure::new(Exit::Failed, message).hint(remains));
            }
            event = alive::during(|| format!("waiting for {goal}{last}"), follow.next()) => event?,
        };
        if let Event::Initial(status) | Event::Gone(status) = &event {
            last = state(status);
        } else if let Event::Update { now, .. } = &event {
            last = state(&**now);
        }
        report_cut(&event);
        if let Some(done) = look(event)? {
            return Ok(done);
        }
    }
}

fn state<T: Followed>(status: &T) -> String {
    format!("; {} is {}", status.id(), status.state())
}

/// Prints on standard error that the stream was lost, or is open again.
pub(super) fn report_cut<T>(event: &Event<T>) {
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
