//! The publisher: a subscriber that publishes every update to RabbitMQ and tracks the broker's confirms.
//!
//! It reads updates also while the broker is away, so only the [`Outbox`] waits for the broker, and it merges. Each
//! message is persistent and confirmed. A message without a confirm when a connection ends is published again under its
//! id.

pub mod connect;
mod link;
mod session;
pub mod tail;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use serde::Serialize;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::config::MessageBus;
use crate::leadership::Leadership;
use crate::outbox::message::BusMessage;
use crate::outbox::{Outbox, Outgoing};
use crate::retry::Backoff;
use crate::updates::{Lagged, SubscribeFrom, Subscription, Update, UpdateEvent, Updates};
use connect::Fault;
use link::{Happening, Link};
use session::Answer;

/// The state of the publisher. Counts are since the start of the process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State {
    /// This replica publishes.
    pub is_publisher: bool,
    /// The connection is open and the exchange is declared.
    pub is_connected: bool,
    /// Why the broker blocks the connection: out of memory or disk.
    pub blocked: Option<String>,
    /// The error of the last connection or attempt; none once a later message is confirmed.
    pub fault: Option<String>,
    /// Updates that wait.
    pub waiting: usize,
    /// Messages that were sent, without a confirm yet.
    pub unconfirmed: usize,
    /// Messages that the broker confirmed.
    pub confirmed: u64,
    /// Confirmed messages that reached no queue.
    pub returned: u64,
    /// Messages that were sent again, because a connection ended before their confirm.
    pub republished: u64,
    /// Messages that the broker rejected; they are retried.
    pub refused: u64,
    /// Messages that only refer to a status, because it is too large.
    pub reduced: u64,
    /// Last updates that were dropped, because too many waited.
    pub dropped: u64,
    /// Connections that were opened.
    pub connects: u64,
    /// Connections that were lost or failed.
    pub faults: u64,
    /// Pods whose finalizer was removed before the broker confirmed their last update.
    pub unannounced: u64,
}

impl State {
    /// Whether this replica's updates reach the broker.
    pub fn is_well(&self) -> bool {
        !self.is_publisher || (self.is_connected && self.blocked.is_none())
    }
}

/// The timeouts of the publisher.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Timeout of a connection, its handshake and the declaration of the exchange together.
    pub connect: Duration,
    /// Between connections.
    pub lost: Backoff,
    /// The same where the broker, or our own configuration, says no.
    pub refused: Backoff,
    /// For what is left when the daemon ends.
    pub flush: Duration,
    /// Seconds between heartbeats; a connection that is silent for twice as long is lost.
    pub heartbeat: u16,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            lost: Backoff::millis(250, 10_000),
            refused: Backoff::millis(1_000, 30_000),
            flush: Duration::from_secs(5),
            heartbeat: 10,
        }
    }
}

/// What is published, and the callbacks on its outcome.
pub struct Feed<U: Update> {
    pub updates: Updates<U>,
    /// Builds the message of an update.
    pub encode: fn(&U) -> BusMessage,
    /// Called with each last update that the broker confirmed.
    pub confirmed: Box<dyn Fn(&U) + Send + Sync>,
    /// Returns how many finalizers were removed before that.
    pub unannounced: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl<U: Update> fmt::Debug for Feed<U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

/// Publishes updates.
#[derive(Debug)]
pub struct Publisher {
    bus: Arc<MessageBus>,
    timing: Timing,
    state: watch::Sender<State>,
}

impl Publisher {
    /// Returns a publisher and its state; the channel closes when the publisher ends.
    pub fn new(bus: MessageBus, timing: Timing) -> (Self, watch::Receiver<State>) {
        let (state, reported) = watch::channel(State::default());
        let bus = Arc::new(bus);
        (Self { bus, timing, state }, reported)
    }

    /// Returns another publisher on the same bus, with a connection of its own.
    pub fn another(&self) -> Self {
        Self {
            bus: Arc::clone(&self.bus),
            timing: self.timing,
            state: watch::Sender::new(State::default()),
        }
    }

    /// Returns the state; the channel closes when the publisher ends.
    pub fn state(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    /// Completes when the publisher ends.
    pub fn ended(&self) -> impl Future<Output = ()> + use<> {
        let mut state = self.state();
        async move { while state.changed().await.is_ok() {} }
    }

    /// Publishes while this replica leads, until `drain` is cancelled and the rest is sent or the flush timeout is
    /// over.
    ///
    /// # Errors
    /// None: it reconnects for ever.
    pub async fn run<U: Update>(
        self,
        feed: Feed<U>,
        mut leadership: Leadership,
        drain: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = drain.cancelled() => return Ok(()),
                () = leadership.begins() => {}
            }
            let mut term = Term::new(&self, &feed);
            tokio::select! {
                () = term.publish(&drain) => return Ok(()),
                () = leadership.ends() => info!("no longer the publisher"),
            }
            drop(term);
            self.state.send_modify(|state| {
                state.is_publisher = false;
                state.is_connected = false;
                state.blocked = None;
                (state.waiting, state.unconfirmed) = (0, 0);
            });
        }
    }
}

/// The number of a message, its lane, and its outcome.
type Answered = (u64, Arc<str>, Result<Answer, Fault>);

/// From the start of a leadership to its end.
struct Term<'a, U: Update> {
    feed: &'a Feed<U>,
    state: &'a watch::Sender<State>,
    timing: Timing,
    confirm_timeout: Duration,
    window: usize,
    outbox: Outbox<U>,
    /// Last updates that outboxes of earlier terms dropped.
    dropped_before: u64,
    updates: Subscription<U>,
    link: Link,
    /// Messages without a confirm, by number, and when they were sent.
    sent: BTreeMap<u64, Instant>,
    number: u64,
    answers: FuturesUnordered<BoxFuture<'static, Answered>>,
    /// This connection confirmed a message.
    works: bool,
    logged_returned: bool,
}

impl<U: Update> Feed<U> {
    /// Returns a subscription to everything, including the ends that the log still has.
    fn subscribe(&self) -> Subscription<U> {
        self.updates
            .subscribe(U::Filter::default(), SubscribeFrom::Past)
    }
}

impl<'a, U: Update> Term<'a, U> {
    fn new(publisher: &'a Publisher, feed: &'a Feed<U>) -> Self {
        let updates = feed.subscribe();
        let dropped_before = publisher.state.borrow().dropped;
        publisher
            .state
            .send_modify(|state| state.is_publisher = true);
        Self {
            feed,
            state: &publisher.state,
            timing: publisher.timing,
            confirm_timeout: publisher.bus.confirm_timeout.to_std(),
            window: usize::try_from(publisher.bus.window).unwrap_or(usize::MAX),
            outbox: Outbox::default(),
            dropped_before,
            updates,
            link: Link::new(Arc::clone(&publisher.bus), publisher.timing),
            sent: BTreeMap::new(),
            number: 0,
            answers: FuturesUnordered::new(),
            works: false,
            logged_returned: false,
        }
    }

    /// Publishes until `drain` is cancelled, then what remains.
    async fn publish(&mut self, drain: &CancellationToken) {
        let mut end: Option<Instant> = None;
        loop {
            self.send();
            self.report();
            let over = end.is_some_and(|end| self.outbox.is_empty() || Instant::now() >= end);
            if over {
                break;
            }
            let (timeout, retry) = (self.confirm_deadline(), self.retry_at());
            tokio::select! {
                () = drain.cancelled(), if end.is_none() => {
                    end = Some(Instant::now() + self.timing.flush);
                    while let Some(read) = self.updates.next().now_or_never() {
                        self.take_in(read);
                    }
                }
                () = sleep_or_pend(end) => {}
                read = self.updates.next(), if end.is_none() => self.take_in(read),
                Some((number, lane, answer)) = self.answers.next() => {
                    self.sent.remove(&number);
                    self.answered(&lane, answer);
                }
                happening = self.link.next() => self.happened(happening),
                () = sleep_or_pend(timeout) => {
                    let why = format!("no confirm within {:?}", self.confirm_timeout);
                    self.lost(Fault::passing(why));
                }
                () = sleep_or_pend(retry) => {}
            }
        }
        let left = self.outbox.waiting() + self.outbox.under_way();
        match left {
            0 => info!("everything is on the message bus"),
            _ => warn!(
                unconfirmed = self.outbox.under_way(),
                waiting = self.outbox.waiting(),
                "the message bus has not taken everything; the next publisher sends it again"
            ),
        }
        self.link.close(self.timing.connect).await;
        self.link.cut();
        self.report();
    }

    fn take_in(&mut self, read: Result<Vec<UpdateEvent<U>>, Lagged>) {
        match read {
            Ok(events) => {
                for event in events {
                    match event {
                        UpdateEvent::Status(update) => self.outbox.push(update),
                        UpdateEvent::SnapshotComplete(_) => {}
                    }
                }
            }
            Err(Lagged) => {
                warn!("the publisher fell behind the log of updates: reading everything again");
                self.updates = self.feed.subscribe();
            }
        }
    }

    /// Sends as much as the window allows.
    fn send(&mut self) {
        let Some(session) = self.link.session() else {
            return;
        };
        while self.outbox.under_way() < self.window {
            let now = Instant::now();
            let Some(Outgoing {
                lane,
                update,
                again,
            }) = self.outbox.take(now.into_std())
            else {
                return;
            };
            let message = (self.feed.encode)(&update);
            self.state.send_if_modified(|state| {
                state.republished += u64::from(again);
                state.reduced += u64::from(message.is_reduced);
                false
            });
            let number = self.number;
            self.number += 1;
            self.sent.insert(number, now);
            let answer = session.publish(message);
            let answer = async move { (number, lane, answer.await) };
            self.answers.push(answer.boxed());
        }
    }

    fn answered(&mut self, lane: &Arc<str>, answer: Result<Answer, Fault>) {
        match answer {
            Err(fault) => self.lost(fault),
            Ok(Answer::Refused { returned }) => {
                self.outbox.refuse(lane, Instant::now().into_std());
                self.state.send_if_modified(|state| {
                    state.refused += 1;
                    state.returned += u64::from(returned.is_some());
                    false
                });
            }
            Ok(Answer::Confirmed { returned }) => {
                if !std::mem::replace(&mut self.works, true) {
                    self.link.works();
                }
                let update = self.outbox.confirm(lane);
                if let Some(last) = update.filter(|update| update.is_last()) {
                    (self.feed.confirmed)(&last);
                }
                self.state.send_if_modified(|state| {
                    state.confirmed += 1;
                    state.returned += u64::from(returned.is_some());
                    state.fault = None;
                    false
                });
                if let Some(id) = returned {
                    debug!(message = id, "no queue takes it");
                    if !std::mem::replace(&mut self.logged_returned, true) {
                        warn!(
                            message = id,
                            "no queue takes this message; further ones are only counted"
                        );
                    }
                }
            }
        }
    }

    fn happened(&mut self, happening: Happening) {
        match happening {
            Happening::Connected => {
                self.works = false;
                self.state.send_modify(|state| {
                    state.connects += 1;
                    state.is_connected = true;
                    state.blocked = None;
                });
            }
            Happening::Blocked(why) => {
                warn!(why, "the message bus is blocked");
                self.state.send_modify(|state| state.blocked = Some(why));
            }
            Happening::Unblocked => {
                info!("the message bus is no longer blocked");
                // No answer was read meanwhile.
                let now = Instant::now();
                self.sent.values_mut().for_each(|since| *since = now);
                self.state.send_modify(|state| state.blocked = None);
            }
            Happening::Lost(fault) => self.lost(fault),
        }
    }

    /// Drops the connection. A message without a confirm may be stored or not.
    fn lost(&mut self, fault: Fault) {
        self.answers = FuturesUnordered::new();
        self.sent.clear();
        self.outbox.lose();
        self.state.send_modify(|state| {
            state.is_connected = false;
            state.blocked = None;
            state.faults += 1;
            state.fault = Some(fault.why.clone());
        });
        self.link.retry(fault);
    }

    /// When the oldest message without a confirm times out. A blocked broker confirms nothing.
    fn confirm_deadline(&self) -> Option<Instant> {
        let oldest = self.sent.first_key_value();
        let oldest = oldest.filter(|_| !self.link.is_blocked());
        oldest.map(|(_, since)| *since + self.confirm_timeout)
    }

    /// When a rejected message is retried.
    fn retry_at(&self) -> Option<Instant> {
        let retry = self.outbox.next_retry().map(Instant::from_std);
        retry.filter(|_| self.link.is_open() && self.outbox.under_way() < self.window)
    }

    fn report(&self) {
        let outbox = &self.outbox;
        let (waiting, unconfirmed) = (outbox.waiting(), outbox.under_way());
        let (dropped, unannounced) = (
            self.dropped_before + outbox.dropped(),
            (self.feed.unannounced)(),
        );
        self.state.send_modify(|state| {
            state.waiting = waiting;
            state.unconfirmed = unconfirmed;
            state.dropped = dropped;
            state.unannounced = unannounced;
        });
    }
}

async fn sleep_or_pend(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
