//! Waits for workspaces to come to a state: bounded in time, over cut streams, and until Ctrl-C.

use std::time::Duration;

use tokio::time::Instant;

use super::connect::parse_duration;
use super::follow::{Event, Follow};
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
    /// Passes every event to `look` until that returns `Some`. Cuts are reported and mended. `remains` says what the
    /// user leaves behind by not waiting any longer.
    pub(super) async fn until<T>(
        &self,
        follow: &mut Follow,
        remains: &str,
        mut look: impl FnMut(Event) -> Result<Option<T>, Failure>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + self.wait_timeout;
        let mut interrupt = std::pin::pin!(tokio::signal::ctrl_c());
        loop {
            let event = tokio::select! {
                // In this order, Ctrl-C is caught before anything is told.
                biased;
                _ = &mut interrupt => {
                    return Err(Failure::new(Exit::Failed, "interrupted").hint(remains));
                }
                () = tokio::time::sleep_until(deadline) => {
                    let message = format!("gave up waiting after {:?}", self.wait_timeout);
                    return Err(Failure::new(Exit::Failed, message).hint(remains));
                }
                event = follow.next() => event?,
            };
            report_cut(&event);
            if let Some(done) = look(event)? {
                return Ok(done);
            }
        }
    }
}

/// Says on standard error that the stream was cut, or stands again.
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
