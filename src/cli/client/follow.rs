//! Follows workspaces or sessions without a gap: what is there first, then every change, and the same again after every
//! lost connection.
//!
//! No status is reported twice, and an older version never follows a newer one.

mod workspaces;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures::TryStreamExt;
use futures::stream::BoxStream;
use tonic::Code;

use super::connect::{CallError, Connection};
use crate::retry::Backoff;

/// How long to wait for the response headers of a subscription. Some older servers send none before the first update.
pub(in crate::cli) const SUBSCRIBED: Duration = Duration::from_secs(2);

/// Between attempts to reconnect. Begun anew only after an update, so that a server which accepts and cuts at once is not
/// called in a tight loop.
pub(in crate::cli) const BACKOFF: Backoff = Backoff::millis(100, 3_000);

/// What can be followed.
pub(super) trait Followed: Clone + std::fmt::Debug + PartialEq + Send + 'static {
    /// What it is, for people.
    const NOUN: &'static str;
    /// One that ended never comes again.
    const ENDS_ONCE: bool;
    /// Selects what is followed.
    type Filter: Clone + Send;

    fn id(&self) -> &str;
    /// Orders what is known of it; zero from servers without versions.
    fn version(&self) -> u64;
    fn has_ended(&self) -> bool;
    /// Its phase, and why.
    fn state(&self) -> String;
    /// Opens a stream; `resume` is the last token of an earlier one.
    fn open(
        connection: &Connection,
        filter: &Self::Filter,
        resume: Option<&str>,
    ) -> impl Future<Output = Result<Opened<Self>, CallError>> + Send;
}

/// An open stream.
pub(super) struct Opened<T> {
    /// What is there, the oldest first; none where the stream continues an earlier one.
    pub(super) present: Option<Vec<T>>,
    /// To resume with.
    pub(super) resume: Option<String>,
    pub(super) updates: BoxStream<'static, Result<Update<T>, CallError>>,
}

/// A message of a stream.
pub(super) struct Update<T> {
    /// Messages without one steer the stream.
    pub(super) now: Option<T>,
    /// To resume with.
    pub(super) resume: Option<String>,
}

/// An event of what is followed.
#[derive(Debug)]
pub(super) enum Event<T> {
    /// It was there at the first list.
    Initial(T),
    /// The first list is complete.
    Complete,
    /// It appeared or changed.
    Update {
        now: Box<T>,
        /// Its last status, if there is one.
        before: Option<Box<T>>,
    },
    /// It went while the connection was lost; its last known status.
    Gone(T),
    /// The stream ended, with OK or an error; the next calls of `next` reconnect.
    Cut(Option<CallError>),
    /// The stream is open again; the missed updates follow.
    Resumed,
}

/// A subscription, and the statuses that it reported.
pub(super) struct Follow<T: Followed> {
    connection: Connection,
    filter: T::Filter,
    /// Only these are reported, unless empty: the protocol has no filter by id.
    ids: Vec<String>,
    stream: Option<BoxStream<'static, Result<Update<T>, CallError>>>,
    /// The last token.
    resume: Option<String>,
    known: BTreeMap<String, T>,
    queue: VecDeque<Event<T>>,
    failures: u32,
}

impl<T: Followed> Follow<T> {
    /// Subscribes and lists. Fails if the server cannot be reached: only later failures are retried.
    pub(super) async fn open(
        connection: &Connection,
        filter: T::Filter,
        ids: &[String],
    ) -> Result<Self, CallError> {
        let mut follow = Self {
            connection: connection.clone(),
            filter,
            ids: ids.to_vec(),
            stream: None,
            resume: None,
            known: BTreeMap::new(),
            queue: VecDeque::new(),
            failures: 0,
        };
        for status in follow.connect().await?.unwrap_or_default() {
            let id = status.id().to_owned();
            follow.known.insert(id, status.clone());
            follow.queue.push_back(Event::Initial(status));
        }
        follow.queue.push_back(Event::Complete);
        Ok(follow)
    }

    /// Waits for the next event. Fails only if reconnecting cannot help.
    pub(super) async fn next(&mut self) -> Result<Event<T>, CallError> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            let Some(stream) = &mut self.stream else {
                // There is no stream without a failure before it.
                let before = self.failures.saturating_sub(1);
                tokio::time::sleep(BACKOFF.jittered(before)).await;
                match self.reconnect().await {
                    Err(error) if !is_passing(error.status.code()) => return Err(error),
                    // Only the first failure is reported, as `Cut`.
                    Err(_) => self.failures += 1,
                    Ok(()) => {}
                }
                continue;
            };
            match stream.try_next().await {
                Ok(Some(update)) => {
                    self.failures = 0;
                    self.resume = update.resume.or_else(|| self.resume.take());
                    if let Some(now) = update.now {
                        self.observe(now);
                    }
                }
                Ok(None) => return self.cut(None),
                Err(error) => return self.cut(Some(error)),
            }
        }
    }

    /// Adds a status from another call; it is reported unless it is old.
    pub(super) fn observe(&mut self, now: T) {
        if !self.wants(&now) {
            return;
        }
        let id = now.id();
        let before = self.known.get(id);
        if before.is_some_and(|before| is_old(&now, before)) {
            return;
        }
        let before = self.known.insert(id.to_owned(), now.clone());
        let before = before.map(Box::new);
        self.queue.push_back(Event::Update {
            now: Box::new(now),
            before,
        });
    }

    /// Clears all state and starts again: the next events report everything as an update.
    pub(super) fn restart(&mut self) {
        self.known.clear();
        self.queue.clear();
        self.resume = None;
        self.stream = None;
    }

    fn wants(&self, status: &T) -> bool {
        self.ids.is_empty() || self.ids.iter().any(|id| id == status.id())
    }

    async fn reconnect(&mut self) -> Result<(), CallError> {
        let present = self.connect().await?;
        self.queue.push_back(Event::Resumed);
        let Some(listed) = present else {
            return Ok(());
        };
        let present: BTreeSet<&str> = listed.iter().map(Followed::id).collect();
        let (here, gone) = std::mem::take(&mut self.known)
            .into_iter()
            .partition(|(id, _)| present.contains(id.as_str()));
        self.known = here;
        let missed = BTreeMap::into_values(gone).filter(|status| !status.has_ended());
        self.queue.extend(missed.map(Event::Gone));
        listed.into_iter().for_each(|status| self.observe(status));
        Ok(())
    }

    /// Returns what is there, unless the stream continues the last one.
    async fn connect(&mut self) -> Result<Option<Vec<T>>, CallError> {
        let opened = T::open(&self.connection, &self.filter, self.resume.as_deref()).await?;
        self.stream = Some(opened.updates);
        self.resume = opened.resume.or_else(|| self.resume.take());
        let mut present = opened.present;
        if let Some(present) = &mut present {
            present.retain(|status| self.wants(status));
        }
        Ok(present)
    }

    fn cut(&mut self, error: Option<CallError>) -> Result<Event<T>, CallError> {
        self.stream = None;
        match error {
            Some(error) if !is_passing(error.status.code()) => Err(error),
            error => {
                self.failures += 1;
                Ok(Event::Cut(error))
            }
        }
    }
}

/// Versions order what is known of one workspace; equal ones repeat, and servers without versions give zero.
fn is_old<T: Followed>(now: &T, before: &T) -> bool {
    match now.version() {
        0 => now == before,
        version => version <= before.version(),
    }
}

/// The codes of a server that restarts, drains or is overloaded; other errors are not retried.
pub(in crate::cli) fn is_passing(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Aborted
    )
}
