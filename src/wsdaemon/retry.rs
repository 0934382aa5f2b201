//! Tries a call again while its failure passes by itself: a fixed number of times, with a fixed pause.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::Failure;

/// How often a call is tried.
pub const ATTEMPTS: u32 = 24;

/// Calls until it goes well, fails in a way that does not pass, or has failed `attempts` times.
pub(super) async fn persistent<'a, T>(
    pause: Duration,
    attempts: u32,
    passes: fn(&Failure) -> bool,
    call: impl Fn() -> BoxFuture<'a, Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut count = 1;
    loop {
        let failure = match call().await {
            Ok(answer) => return Ok(answer),
            Err(failure) => failure,
        };
        if !passes(&failure) || count >= attempts {
            return Err(failure);
        }
        match count {
            1 => warn!(%failure, "the ws-daemon does not answer, trying again"),
            _ => debug!(%failure, count, "the ws-daemon still does not answer"),
        }
        sleep(pause).await;
        count += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::FutureExt;
    use tokio::time::Instant;

    use super::*;
    use crate::wsdaemon::Timing;

    async fn attempts(failures: u32, passes: bool) -> (u32, bool, u64) {
        let (began, calls) = (Instant::now(), AtomicU32::new(0));
        let call = || {
            let outcome = match calls.fetch_add(1, Ordering::Relaxed) >= failures {
                true => Ok(()),
                false => Err(Failure::Unreachable("refused".to_owned())),
            };
            async move { outcome }.boxed()
        };
        let passing = if passes {
            |_: &Failure| true
        } else {
            |_: &Failure| false
        };
        let ended = persistent(Timing::CLASSIC.pause, ATTEMPTS, passing, call).await;
        let took = began.elapsed().as_secs();
        (calls.into_inner(), ended.is_ok(), took)
    }

    #[tokio::test(start_paused = true)]
    async fn what_passes_is_tried_24_times_5_seconds_apart() {
        assert_eq!(attempts(u32::MAX, true).await, (24, false, 23 * 5));
        assert_eq!(attempts(3, true).await, (4, true, 15));
        assert_eq!(attempts(1, false).await, (1, false, 0));
    }
}
