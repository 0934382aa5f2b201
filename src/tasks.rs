//! The named tasks of the process: the first long-running task that ends ends the process, with its name.

use std::time::Duration;

use futures::future::BoxFuture;
use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::retry;

/// Long-running tasks under one name each.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<anyhow::Result<()>>,
    names: Vec<(Id, &'static str)>,
}

impl Tasks {
    /// Starts a task that runs until shutdown.
    pub fn spawn<F>(&mut self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        // In a box all of them are one kind of task to the runtime, which is compiled once for each kind.
        let task: BoxFuture<'static, _> = Box::pin(task);
        let handle = self.set.spawn(task);
        self.names.push((handle.id(), name));
    }

    /// Waits for the first task to end and returns its name and its error; never returns if there are no tasks.
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

    /// Aborts the tasks that still run.
    pub async fn abort(mut self) {
        self.set.shutdown().await;
    }
}

/// Starts a task that is cut when what is returned is dropped.
pub fn scoped<F>(task: F) -> AbortOnDropHandle<F::Output>
where
    F: Future<Output: Send> + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// Starts a task that ends by itself, as when the receiver of its work is gone.
pub fn detached(task: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(task));
}

/// What every part of the daemon shares about its end: first stop taking work, then finish what was taken.
#[derive(Debug, Clone)]
pub struct Drain {
    /// Cancelled when no new work may start.
    pub refuse: CancellationToken,
    /// Cancelled when open streams end.
    pub streams: CancellationToken,
    /// Streams end spread over this time, so that their readers do not reconnect all at once.
    pub spread: Duration,
    /// Mutations in progress, which outlive their callers.
    pub mutations: TaskTracker,
}

impl Drain {
    /// Returns a drain that has not started.
    pub fn new(spread: Duration) -> Self {
        Self {
            refuse: CancellationToken::new(),
            streams: CancellationToken::new(),
            spread,
            mutations: TaskTracker::new(),
        }
    }

    /// Waits for a stream's end: a random moment of the spread.
    pub async fn stream_over(&self) {
        self.streams.cancelled().await;
        tokio::time::sleep(self.spread.mul_f64(retry::share())).await;
    }
}
