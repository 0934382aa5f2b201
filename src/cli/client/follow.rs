//! Follows workspaces without a gap: subscribes, then lists, then merges both, and does so again after every cut.
//!
//! What was told once is not told again, and an older version never follows a newer one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use tonic::Code;

use super::connect::{CallError, Connection};
use crate::proto::wsman::*;

/// How long to wait for a sign that the subscription stands. Servers of old give none before the first update, so
/// waiting for ever would wait for nothing.
pub(in crate::cli) const SUBSCRIBED: Duration = Duration::from_secs(2);

/// Attempts to reconnect are never further apart than this, and its jitter.
pub(in crate::cli) const LONGEST_PAUSE: Duration = Duration::from_secs(3);

/// What happened to the workspaces followed.
#[derive(Debug)]
pub(super) enum Event {
    /// A workspace was there when following began.
    Initial(WorkspaceStatus),
    /// Everything that was there has been told.
    Complete,
    /// A workspace appeared or changed.
    Update {
        /// Its status now.
        now: Box<WorkspaceStatus>,
        /// Its status before, if it was known.
        before: Option<Box<WorkspaceStatus>>,
    },
    /// A workspace went while nobody was looking; this is its last known status.
    Gone(WorkspaceStatus),
    /// The stream ended, in good order unless there is an error; following calls of `next` reconnect.
    Cut(Option<CallError>),
    /// The stream stands again; what was missed follows.
    Resumed,
}

/// A subscription, with what it told so far.
pub(super) struct Follow {
    connection: Connection,
    filter: Option<MetadataFilter>,
    /// Only these workspaces are told of, unless empty: the protocol has no filter by id.
    ids: Vec<String>,
    stream: Option<BoxStream<'static, Result<SubscribeResponse, CallError>>>,
    known: BTreeMap<String, WorkspaceStatus>,
    queue: VecDeque<Event>,
    backoff: ExponentialBackoff,
    pause: Duration,
}

impl Follow {
    /// Subscribes and lists. Fails when the server cannot be reached: only what stood once is kept up.
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
            backoff: backoff(),
            pause: Duration::ZERO,
        };
        for status in follow.connect().await? {
            follow.known.insert(status.id.clone(), status.clone());
            follow.queue.push_back(Event::Initial(status));
        }
        follow.queue.push_back(Event::Complete);
        Ok(follow)
    }

    /// Waits for the next event. Fails only with what a reconnect cannot mend.
    pub(super) async fn next(&mut self) -> Result<Event, CallError> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            let Some(stream) = &mut self.stream else {
                tokio::time::sleep(self.pause).await;
                match self.reconnect().await {
                    Err(error) if !is_passing(error.status.code()) => return Err(error),
                    // Told once: the cut itself was.
                    Err(_) => self.pause = self.backoff.next().unwrap_or(LONGEST_PAUSE),
                    Ok(()) => {}
                }
                continue;
            };
            match stream.try_next().await {
                Ok(Some(update)) => {
                    self.backoff = backoff();
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

    /// Takes in a status that was learned in another way; it is told of unless it is old.
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

    /// Forgets everything and begins anew: the next events tell all that is there as updates.
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

    /// Subscribes first and lists second, so that every change is in the one or the other.
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
        super::list::sort(&mut listed);
        self.stream = Some(stream);
        Ok(listed)
    }

    fn cut(&mut self, error: Option<CallError>) -> Result<Event, CallError> {
        self.stream = None;
        match error {
            Some(error) if !is_passing(error.status.code()) => Err(error),
            error => {
                self.pause = self.backoff.next().unwrap_or(LONGEST_PAUSE);
                Ok(Event::Cut(error))
            }
        }
    }
}

/// Jittered, so that clients which were cut together do not come back together; begun anew only after an update, so
/// that a server which accepts and cuts at once is not called in a tight loop.
pub(in crate::cli) fn backoff() -> ExponentialBackoff {
    let mut seed = [0; 8];
    // Without a random seed the delays still grow; they are merely the same everywhere.
    let _ = getrandom::fill(&mut seed);
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_millis(100))
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .with_jitter_seed(u64::from_le_bytes(seed))
        .without_max_times()
        .build()
}

/// Versions order what is known of one workspace; equal ones repeat, and servers without versions give zero.
fn is_old(now: &WorkspaceStatus, before: &WorkspaceStatus) -> bool {
    match now.status_version {
        0 => now == before,
        version => version <= before.status_version,
    }
}

/// What a server that restarts, drains or is overrun may answer; everything else stays true however often it is asked.
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
