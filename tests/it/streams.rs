//! Streams under load and under faults, and the limits of callers. Tests have the names of their rows in
//! docs/faults.md#streams: `fs1` is F-S1. Rows on HTTP alone are in `http`.

mod deadlines;
mod drain;
mod floods;
mod limits;
mod record;
mod resume;
mod stuck;
mod vanish;

use std::time::Duration;

/// Advances paused time until something is over. Between two steps real time passes, so that peers can answer.
///
/// Only on a runtime of one thread.
pub(crate) async fn while_time_leaps<T>(leap: Duration, over: impl Future<Output = T>) -> T {
    let began = std::time::Instant::now();
    let leaps = async {
        while began.elapsed() < Duration::from_secs(25) {
            let frozen = Frozen::begin();
            tokio::time::advance(leap).await;
            drop(frozen);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        over = over => over,
        () = leaps => panic!("it is not over, however far time leaps"),
    }
}

/// While it lives, time is paused; dropping it resumes time.
struct Frozen;

impl Frozen {
    fn begin() -> Self {
        tokio::time::pause();
        Self
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        tokio::time::resume();
    }
}
