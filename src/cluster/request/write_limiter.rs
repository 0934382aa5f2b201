//! Limits concurrent writes: at most as many as the window allows, the urgent ones first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::window::{Answer, Change, Kind, Queue, Window};

/// A write that is cancelled after this long without an answer shows that the server is overloaded.
const SILENCE: Duration = Duration::from_secs(3);

/// Shared by all clones of a client.
#[derive(Clone)]
pub(super) struct WriteLimiter(Arc<Shared>);

struct Shared {
    made: Instant,
    state: Mutex<State>,
}

/// While a writer waits, no permit is free for it.
#[derive(Default)]
struct State {
    window: Window,
    queue: Queue<(String, oneshot::Sender<Permit>)>,
}

/// The permit of one write; dropping it releases it.
pub(super) struct Permit {
    limiter: WriteLimiter,
    kind: Kind,
    since: Instant,
    answer: Option<Answer>,
}

impl Default for WriteLimiter {
    fn default() -> Self {
        Self(Arc::new(Shared {
            made: Instant::now(),
            state: Mutex::default(),
        }))
    }
}

impl WriteLimiter {
    /// Waits for a permit. Cancel-safe.
    pub(super) async fn acquire(&self, kind: Kind) -> Permit {
        let (mut waits, end) = {
            let mut state = self.state();
            if state.window.enter(kind.class) {
                return self.permit(kind);
            }
            let (given, waits) = oneshot::channel();
            let waiter = (kind.name, given);
            let end = state.queue.push(kind.class, waiter, self.0.made.elapsed());
            (waits, self.0.made + end)
        };
        let permit = match tokio::time::timeout_at(end, &mut waits).await {
            Ok(permit) => permit,
            Err(_) => {
                self.admit();
                waits.await
            }
        };
        match permit {
            Ok(permit) => permit,
            // Never: a waiter is only removed with a permit, or when it is cancelled.
            Err(_) => std::future::pending().await,
        }
    }

    fn permit(&self, kind: Kind) -> Permit {
        Permit {
            limiter: self.clone(),
            kind,
            since: Instant::now(),
            answer: None,
        }
    }

    fn leave(&self, kind: &Kind, answer: Answer) {
        let now = self.0.made.elapsed();
        let (change, limit) = {
            let mut state = self.state();
            let change = state.window.leave(kind, answer, now);
            (change, state.window.limit())
        };
        match change {
            Some(Change::Low) => warn!(
                limit,
                "the API server has too much to do, fewer writes are sent at once"
            ),
            Some(Change::Restored) => {
                info!(
                    limit,
                    "as many writes as before are sent to the API server at once"
                );
            }
            None => {}
        }
        self.admit();
    }

    /// Gives permits to the next waiters.
    fn admit(&self) {
        while let Some((kind, given)) = self.next() {
            // A waiter that was just cancelled drops the permit, which admits the next.
            let _ = given.send(self.permit(kind));
        }
    }

    /// Takes a permit for the next waiter that is not cancelled.
    fn next(&self) -> Option<(Kind, oneshot::Sender<Permit>)> {
        let now = self.0.made.elapsed();
        let mut guard = self.state();
        let state = &mut *guard;
        while let Some((class, (name, given))) = state.window.admit(&mut state.queue, now) {
            if !given.is_closed() {
                return Some((Kind { class, name }, given));
            }
            state.window.cancel(class);
        }
        None
    }

    /// The lock is never held across an await or a panic.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// How long it has been held.
    pub(super) fn held(&self) -> Duration {
        self.since.elapsed()
    }

    /// Releases it with the answer of the server.
    pub(super) fn release(mut self, answer: Answer) {
        self.answer = Some(answer);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let given_up = match self.held() >= SILENCE {
            true => Answer::Overload,
            false => Answer::Unknown,
        };
        let answer = self.answer.unwrap_or(given_up);
        self.limiter.leave(&self.kind, answer);
    }
}

#[cfg(test)]
mod tests;
