//! The steps of groups: what takes longer than a write, and goes on beside the writes of decisions.
//!
//! One step per group at a time. It goes on as long as decisions name it, and a decision that does not name it ends it. Its
//! outcome is written like any action, so a daemon that dies in between carries out the step again.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::task::{AbortHandle, JoinSet};
use tracing::{Instrument, Span};

use crate::action::Action;
use crate::error::Error;

/// Carries out the steps of a noun.
pub trait Steps<S>: Send + Sync + 'static {
    /// Carries out a step, and returns the writes that say how it went. It may be dropped at any moment, and a step may be
    /// carried out again although it was before.
    ///
    /// # Errors
    /// What says nothing about the step: it is carried out again after a pause, if a decision still names it.
    fn carry_out(&self, step: S) -> BoxFuture<'static, Result<Vec<Action>, Error>>;
}

/// The noun has no steps.
#[derive(Debug, Clone, Copy)]
pub struct NoSteps;

impl Steps<Infallible> for NoSteps {
    fn carry_out(&self, step: Infallible) -> BoxFuture<'static, Result<Vec<Action>, Error>> {
        match step {}
    }
}

/// The steps that go on.
#[derive(Debug)]
pub(super) struct Running<S, E> {
    by_group: HashMap<Arc<str>, (S, AbortHandle)>,
    tasks: JoinSet<(Arc<str>, E)>,
}

impl<S: PartialEq + Clone, E: Send + 'static> Running<S, E> {
    pub(super) fn new() -> Self {
        Self {
            by_group: HashMap::new(),
            tasks: JoinSet::new(),
        }
    }

    /// Begins the step of a group with `begin`, unless it goes on already; another one of the group ends.
    pub(super) fn follow<F>(
        &mut self,
        group: &Arc<str>,
        step: Option<S>,
        span: impl FnOnce() -> Span,
        begin: impl FnOnce(S) -> F,
    ) where
        F: Future<Output = E> + Send + 'static,
    {
        let current = self.by_group.get(group).map(|(step, _)| step);
        if current == step.as_ref() {
            return;
        }
        self.end(group);
        let Some(step) = step else { return };
        let (key, work) = (Arc::clone(group), begin(step.clone()));
        let handle = self
            .tasks
            .spawn(async move { (key, work.await) }.instrument(span()));
        self.by_group.insert(Arc::clone(group), (step, handle));
    }

    /// Ends the step of a group, wherever it is.
    pub(super) fn end(&mut self, group: &str) {
        if let Some((_, handle)) = self.by_group.remove(group) {
            handle.abort();
        }
    }

    /// Returns the next step that ended by itself, and how; waits for ever while there is none.
    ///
    /// # Errors
    /// If a step panics.
    pub(super) async fn next(&mut self) -> anyhow::Result<(Arc<str>, E)> {
        loop {
            let Some(ended) = self.tasks.join_next_with_id().await else {
                return std::future::pending().await;
            };
            let (id, (group, ended)) = match ended {
                Ok(ended) => ended,
                Err(error) if error.is_cancelled() => continue,
                Err(error) => return Err(error.into()),
            };
            // It may have ended in the moment in which another took its place.
            let current = self.by_group.get(&group);
            if current.is_some_and(|(_, handle)| handle.id() == id) {
                self.by_group.remove(&group);
                return Ok((group, ended));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    /// A step that ends on command, and that shows when it is dropped.
    struct Work {
        finish: oneshot::Sender<&'static str>,
        dropped: oneshot::Receiver<()>,
    }

    fn follow(running: &mut Running<u8, &'static str>, step: Option<u8>) -> Option<Work> {
        let (finish, finished) = oneshot::channel();
        let (held, dropped) = oneshot::channel::<()>();
        let mut begun = false;
        running.follow(&"group".into(), step, Span::none, |_| {
            begun = true;
            async move {
                let _held = held;
                finished.await.unwrap()
            }
        });
        begun.then_some(Work { finish, dropped })
    }

    #[tokio::test]
    async fn a_step_that_goes_on_is_not_begun_again() {
        let mut running = Running::new();
        let work = follow(&mut running, Some(1)).unwrap();
        assert!(follow(&mut running, Some(1)).is_none());
        work.finish.send("done").unwrap();
        assert_eq!(running.next().await.unwrap(), ("group".into(), "done"));
        // It is named again: its outcome was lost.
        assert!(follow(&mut running, Some(1)).is_some());
    }

    #[tokio::test]
    async fn a_step_that_is_no_longer_named_ends() {
        let mut running = Running::new();
        let work = follow(&mut running, Some(1)).unwrap();
        assert!(follow(&mut running, None).is_none());
        assert!(work.dropped.await.is_err());
    }

    #[tokio::test]
    async fn another_step_takes_the_place_of_one_that_just_ended() {
        let mut running = Running::new();
        let first = follow(&mut running, Some(1)).unwrap();
        first.finish.send("first").unwrap();
        tokio::task::yield_now().await;
        let second = follow(&mut running, Some(2)).unwrap();
        second.finish.send("second").unwrap();
        assert_eq!(running.next().await.unwrap(), ("group".into(), "second"));
    }
}
