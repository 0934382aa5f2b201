//! Follows workspaces without a gap: subscribes, then lists, then merges both, and repeats that after every lost
//! connection.
//!
//! No status is reported twice, and an older version never follows a newer one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tonic::Code;

use super::connect::{CallError, Connection};
use crate::proto::wsman::*;
use crate::retry::Backoff;

/// How long to wait for the response headers of a subscription. Some older servers send none before the first update.
pub(in crate::cli) const SUBSCRIBED: Duration = Duration::from_secs(2);

/// Between attempts to reconnect. Begun anew only after an update, so that a server which accepts and cuts at once is not
/// called in a tight loop.
pub(in crate::cli) const BACKOFF: Backoff = Backoff::millis(100, 3_000);

/// An event of the followed workspaces.
#[derive(Debug)]
pub(super) enum Event {
    /// A workspace was there at the first list.
    Initial(WorkspaceStatus),
    /// The first list is complete.
    Complete,
    /// A workspace appeared or changed.
    Update {
        now: Box<WorkspaceStatus>,
        /// Its last status, if there is one.
        before: Option<Box<WorkspaceStatus>>,
    },
    /// A workspace ended while the connection was lost; its last known status.
    Gone(WorkspaceStatus),
    /// The stream ended, with OK or an error; the next calls of `next` reconnect.
    Cut(Option<CallError>),
    /// The stream is open again; the missed updates follow.
    Resumed,
}

/// A subscription, and the statuses that it reported.
pub(super) struct Follow {
    connection: Connection,
    filter: Option<MetadataFilter>,
    /// Only these workspaces are reported, unless empty: the protocol has no filter by id.
    ids: Vec<String>,
    stream: Option<BoxStream<'static, Result<SubscribeResponse, CallError>>>,
    known: BTreeMap<String, WorkspaceStatus>,
    queue: VecDeque<Event>,
    failures: u32,
}

impl Follow {
    /// Subscribes and lists. Fails if the server cannot be reached: only later failures are retried.
    pub(super) async fn open(
        connection: &Connection,
        filter: Option<MetadataFilter>,
        ids: &[String],
    ) -> Result<Self, CallError> {
        let mut follow = Self {
            connection: connection.clone(),
            filter,
            ids: ids.to_vec(),
            stream: None,
            known: BTreeMap::new(),
            queue: VecDeque::new(),
            failures: 0,
        };
        for status in follow.connect().await? {
            follow.known.insert(status.id.clone(), status.clone());
            follow.queue.push_back(Event::Initial(status));
        }
        follow.queue.push_back(Event::Complete);
        Ok(follow)
    }

    /// Waits for the next event. Fails only if reconnecting cannot help.
    pub(super) async fn next(&mut self) -> Result<Event, CallError> {
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
                    // Messages without a status steer the stream.
                    if let Some(status) = update.status {
                        self.observe(status);
                    }
                }
                Ok(None) => return self.cut(None),
                Err(error) => return self.cut(Some(error)),
            }
        }
    }

    /// Adds a status from another call; it is reported unless it is old.
    pub(super) fn observe(&mut self, now: WorkspaceStatus) {
        if !self.wants(&now) {
            return;
        }
        let before = self.known.get(&now.id);
        if before.is_some_and(|before| is_old(&now, before)) {
            return;
        }
        let before = self.known.insert(now.id.clone(), now.clone()).map(Box::new);
        self.queue.push_back(Event::Update {
            now: Box::new(now),
            before,
        });
    }

    /// Clears all state and starts again: the next events report every workspace as an update.
    pub(super) fn restart(&mut self) {
        self.known.clear();
        self.queue.clear();
        self.stream = None;
    }

    fn wants(&self, status: &WorkspaceStatus) -> bool {
        self.ids.is_empty() || self.ids.contains(&status.id)
    }

    async fn reconnect(&mut self) -> Result<(), CallError> {
        let listed = self.connect().await?;
        let present: BTreeSet<&str> = listed.iter().map(|status| status.id.as_str()).collect();
        let (here, gone) = std::mem::take(&mut self.known)
            .into_iter()
            .partition(|(id, _)| present.contains(id.as_str()));
        self.known = here;
        self.queue.push_back(Event::Resumed);
        let missed =
            BTreeMap::into_values(gone).filter(|status| status.phase() != WorkspacePhase::Stopped);
        self.queue.extend(missed.map(Event::Gone));
        listed.into_iter().for_each(|status| self.observe(status));
        Ok(())
    }

    /// Subscribes first and lists second, so that every change is in one of them.
    async fn connect(&mut self) -> Result<Vec<WorkspaceStatus>, CallError> {
        let (connection, filter) = (self.connection.clone(), self.filter.clone());
        let mut opening = Box::pin(async move { connection.subscribe(filter).await });
        let connection = self.connection.clone();
        let stream = match tokio::time::timeout(SUBSCRIBED, &mut opening).await {
            Ok(stream) => stream?
                .map_err(move |status| connection.error(status))
                .boxed(),
            Err(_) => stream::once(opening)
                .map_ok(move |stream| {
                    let connection = connection.clone();
                    stream.map_err(move |status| connection.error(status))
                })
                .try_flatten()
                .boxed(),
        };
        let request = GetWorkspacesRequest {
            must_match: self.filter.clone(),
        };
        let mut listed = self.connection.call(request).await?.status;
        listed.retain(|status| self.wants(status));
        super::words::sort(&mut listed);
        self.stream = Some(stream);
        Ok(listed)
    }

    fn cut(&mut self, error: Option<CallError>) -> Result<Event, CallError> {
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
fn is_old(now: &WorkspaceStatus, before: &WorkspaceStatus) -> bool {
    match now.status_version {
        0 => now == before,
        version => version <= before.status_version,
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
