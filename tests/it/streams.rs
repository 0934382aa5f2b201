//! Streams under load and under faults, and what callers may ask for at a time. Tests are named by the rows of
//! docs/faults.md#streams that they prove: `fs1` is F-S1. Rows on HTTP alone are in `http`.

mod deadlines;
mod drain;
mod floods;
mod limits;
mod record;
mod resume;
mod stuck;
mod vanish;

use std::time::Duration;

/// Lets time leap ahead until something is over. Between two leaps real time passes, so that peers can answer.
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

/// While it lives, time stands still; it goes on also where a leap is given up halfway.
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
