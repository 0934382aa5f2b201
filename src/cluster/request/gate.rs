//! The gate that writes pass: at most as many at once as the window says, the urgent ones first.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::window::{Answer, Change, Kind, Line, Window};

/// A write that was given up after this long without an answer says that the server has too much to do.
const SILENCE: Duration = Duration::from_secs(3);

/// Shared by all who write to one server.
#[derive(Clone)]
pub(super) struct Gate(Arc<Shared>);

struct Shared {
    made: Instant,
    state: Mutex<State>,
}

/// While somebody waits there is no place for them.
#[derive(Default)]
struct State {
    window: Window,
    line: Line<(String, oneshot::Sender<Place>)>,
}

/// The right to send one write; given back when it is dropped.
pub(super) struct Place {
    gate: Gate,
    kind: Kind,
    since: Instant,
    answer: Option<Answer>,
}

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Shared {
            made: Instant::now(),
            state: Mutex::default(),
        }))
    }
}

impl Gate {
    /// Waits for a place. Whoever stops waiting leaves nothing behind.
    pub(super) async fn enter(&self, kind: Kind) -> Place {
        let (mut waits, turn) = {
            let mut state = self.state();
            if state.window.enter(kind.class) {
                return self.place(kind);
            }
            let (given, waits) = oneshot::channel();
            let waiter = (kind.name, given);
            let turn = state.line.push(kind.class, waiter, self.0.made.elapsed());
            (waits, self.0.made + turn)
        };
        let place = match tokio::time::timeout_at(turn, &mut waits).await {
            Ok(place) => place,
            Err(_) => {
                self.admit();
                waits.await
            }
        };
        match place {
            Ok(place) => place,
            // Never: a waiter is only let go of with a place, or when it has gone.
            Err(_) => std::future::pending().await,
        }
    }

    fn place(&self, kind: Kind) -> Place {
        Place {
            gate: self.clone(),
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

    /// Gives a place to all those whose turn it is.
    fn admit(&self) {
        while let Some((kind, given)) = self.next() {
            // One who went at this moment drops the place, which makes room for the next.
            let _ = given.send(self.place(kind));
        }
    }

    /// Takes a place for the next one who still waits.
    fn next(&self) -> Option<(Kind, oneshot::Sender<Place>)> {
        let now = self.0.made.elapsed();
        let mut guard = self.state();
        let state = &mut *guard;
        while let Some((class, (name, given))) = state.window.admit(&mut state.line, now) {
            if !given.is_closed() {
                return Some((Kind { class, name }, given));
            }
            state.window.cancel(class);
        }
        None
    }

    /// No holder of the lock waits or panics.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// How long it is held.
    pub(super) fn held(&self) -> Duration {
        self.since.elapsed()
    }

    /// Gives it back with what the answer says of the server.
    pub(super) fn leave(mut self, answer: Answer) {
        self.answer = Some(answer);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let given_up = match self.held() >= SILENCE {
            true => Answer::Overload,
            false => Answer::Unknown,
        };
        let answer = self.answer.unwrap_or(given_up);
        self.gate.leave(&self.kind, answer);
    }
}

#[cfg(test)]
mod tests;
