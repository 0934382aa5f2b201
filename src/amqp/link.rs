//! Keeps a connection open: connects, detects its end, and connects again after a backoff with jitter.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

use super::Timing;
use super::connect::{self, Fault};
use super::session::{Notice, Session};
use crate::config::MessageBus;
use crate::retry::LogOnce;

/// An event of a connection.
#[derive(Debug)]
pub(super) enum Happening {
    /// The connection is open and the exchange is declared.
    Connected,
    /// The broker blocks the connection for now.
    Blocked(String),
    /// The broker accepts messages again.
    Unblocked,
    /// The connection is lost, or failed. [`Link::retry`] must follow.
    Lost(Fault),
}

/// The connection to the broker and its retries.
pub(super) struct Link {
    bus: Arc<MessageBus>,
    timing: Timing,
    stage: Stage,
    failures: u32,
    logged: LogOnce,
    /// The broker lets us in and refuses what we send.
    is_refused: bool,
}

enum Stage {
    Waiting(Instant),
    Opening(BoxFuture<'static, Result<Session, Fault>>),
    Open {
        session: Box<Session>,
        since: Instant,
        is_blocked: bool,
    },
}

impl Link {
    pub(super) fn new(bus: Arc<MessageBus>, timing: Timing) -> Self {
        Self {
            bus,
            timing,
            stage: Stage::Waiting(Instant::now()),
            failures: 0,
            logged: LogOnce::default(),
            is_refused: false,
        }
    }

    /// Waits for the next event. Cancel-safe.
    pub(super) async fn next(&mut self) -> Happening {
        loop {
            match &mut self.stage {
                Stage::Waiting(until) => {
                    sleep_until(*until).await;
                    let (bus, timing) = (Arc::clone(&self.bus), self.timing);
                    let opening = async move { Session::open(&bus, timing).await };
                    self.stage = Stage::Opening(opening.boxed());
                }
                Stage::Opening(opening) => {
                    let session = match opening.await {
                        Ok(session) => Box::new(session),
                        Err(fault) => {
                            self.stage = Stage::Waiting(Instant::now());
                            return Happening::Lost(fault);
                        }
                    };
                    let address = &session.wire.address;
                    // While messages are rejected, a connection is not logged.
                    match self.is_refused {
                        true => debug!(address, "connected again"),
                        false => info!(address, "connected to the message bus"),
                    }
                    self.stage = Stage::Open {
                        session,
                        since: Instant::now(),
                        is_blocked: false,
                    };
                    return Happening::Connected;
                }
                Stage::Open {
                    session,
                    is_blocked,
                    ..
                } => match session.notice().await {
                    Notice::Blocked(why) => {
                        *is_blocked = true;
                        return Happening::Blocked(why);
                    }
                    Notice::Unblocked => {
                        *is_blocked = false;
                        return Happening::Unblocked;
                    }
                    Notice::Gone(fault) => return Happening::Lost(fault),
                },
            }
        }
    }

    /// The session, if it is open and not blocked.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.stage {
            Stage::Open {
                session,
                is_blocked: false,
                ..
            } => Some(session),
            _ => None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.session().is_some()
    }

    pub(super) fn is_blocked(&self) -> bool {
        matches!(
            self.stage,
            Stage::Open {
                is_blocked: true,
                ..
            }
        )
    }

    /// Notes a confirm: the last failure is over.
    pub(super) fn works(&mut self) {
        self.failures = 0;
        self.logged.clear();
        if std::mem::replace(&mut self.is_refused, false) {
            info!("the message bus takes messages again");
        }
    }

    /// Cuts the connection and tries again later.
    pub(super) fn retry(&mut self, fault: Fault) {
        let lasted = match &self.stage {
            Stage::Open { since, .. } => Some(since.elapsed()),
            _ => None,
        };
        self.is_refused = fault.is_refusal && (self.is_refused || lasted.is_some());
        if lasted > Some(self.timing.refused.longest) {
            self.failures = 0;
        }
        let backoff = match fault.is_refusal {
            true => self.timing.refused,
            false => self.timing.lost,
        };
        // Half of it at random, so that what lost its broker together does not come back together.
        let wait = backoff.jittered(self.failures) / 2;
        self.failures += 1;
        match self.logged.is_new(&fault.why) {
            true => warn!(why = fault.why, "the message bus is away"),
            false => debug!(why = fault.why, "the message bus is still away"),
        }
        self.stage = Stage::Waiting(Instant::now() + wait);
    }

    /// Closes the connection, within `timeout`.
    pub(super) async fn close(&mut self, timeout: Duration) {
        if let Stage::Open { session, .. } = &self.stage {
            connect::close(
                &session.wire.connection,
                timeout.min(Duration::from_secs(1)),
            )
            .await;
        }
    }

    /// Closes the socket, if there is one.
    pub(super) fn cut(&mut self) {
        self.stage = Stage::Waiting(Instant::now());
    }
}
