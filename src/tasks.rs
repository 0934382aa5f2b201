//! The named task set of the process: the first long-running task that ends by itself ends the process, with its name.

use std::future::Future;
use std::time::Duration;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Long-running tasks under one name each.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    names: Vec<(Id, &'static str)>,
}

impl Tasks {
    /// Starts a task that is meant to run until shutdown.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let handle = self.set.spawn(task);
        self.names.push((handle.id(), name));
    }

    /// Waits for the first task to end and returns its name and how it ended; for ever if there are no tasks.
    pub async fn first_to_end(&mut self) -> (&'static str, anyhow::Error) {
        let (id, why) = match self.set.join_next_with_id().await {
            None => return std::future::pending().await,
            Some(Ok((id, Ok(())))) => (id, anyhow::anyhow!("ended without being asked to")),
            Some(Ok((id, Err(error)))) => (id, error),
            Some(Err(error)) => (error.id(), error.into()),
        };
        let name = self
            .names
            .iter()
            .find(|(known, _)| *known == id)
            .map_or("unknown", |(_, name)| name);
        (name, why)
    }

    /// Cuts whatever still runs.
    pub async fn abort(mut self) {
        self.set.shutdown().await;
    }
}

/// What every part of the daemon shares about its end: first stop taking work, then finish what was taken.
#[derive(Debug, Clone)]
pub struct Drain {
    /// Set when no new work may begin.
    pub refuse: CancellationToken,
    /// Set when open streams are to end.
    pub streams: CancellationToken,
    /// Over which the ends of streams are spread, so that not all their readers come back at once.
    pub spread: Duration,
    /// Mutations under way: they outlive the caller that asked for them.
    pub mutations: TaskTracker,
}

impl Drain {
    /// Returns a drain that has not begun.
    pub fn new(spread: Duration) -> Self {
        Self {
            refuse: CancellationToken::new(),
            streams: CancellationToken::new(),
            spread,
            mutations: TaskTracker::new(),
        }
    }

    /// Waits until a stream is to end: a random moment of the spread.
    pub async fn stream_over(&self) {
        self.streams.cancelled().await;
        let share = f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX);
        tokio::time::sleep(self.spread.mul_f64(share)).await;
    }
}
