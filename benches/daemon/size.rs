//! How soon the daemon answers.

use std::time::Instant;

use super::process::{Daemon, ready};
use super::row;

/// From the start of the process to its first answered call, on the embedded cluster.
pub(crate) async fn cold_start() {
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        let daemon = Daemon::start(None, "default").await;
        let mut client = daemon.client().await;
        ready(&mut client).await;
        times.push(begun.elapsed());
    }
    times.sort();
    row(
        "process start to the first answer, embedded: median",
        Some(times[2]),
        None,
    );
}
