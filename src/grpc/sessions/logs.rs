//! How the logs of a session are streamed: one reader for each component, merged as their lines come.
//!
//! A reader keeps one piece of text and one message, and reads on when the client took that. It ends with the stream.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{FuturesUnordered, unfold};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, timeout};
use tonic::Status;
use tracing::debug;

use super::{Sessions, missing};
use crate::cluster::logs::{Failure, Log, Logs, Query};
use crate::error::Error;
use crate::grpc::subscribe::Stream;
use crate::hub::Hub;
use crate::index::noun::Noun;
use crate::proto::wsman::sessions::v1::{LogsRequest, LogsResponse};
use crate::retry::Backoff;
use crate::rpc::errors;
use crate::sessions::Sessions as SessionNoun;
use crate::sessions::filter::Filter;
use crate::sessions::logs::{self, FirstTime, Messages, Place, ReadFrom, Selected};
use crate::sessions::plan::MAIN;
use crate::sessions::update::SessionUpdate;
use crate::tasks::{self, Drain};
use crate::updates::{SubscribeFrom, Subscription, UpdateEvent};

/// Messages that wait for the client.
const WAITING: usize = 4;
/// How many logs that are not followed one stream reads at the same time.
const AT_ONCE: usize = 8;
/// Between reads of a log.
const BACKOFF: Backoff = Backoff::millis(100, 5_000);
/// How long a log is tried that cannot be read. A node is ready before its kubelet has its certificate.
const GIVE_UP: Duration = Duration::from_secs(60);

type Item = Result<LogsResponse, Error>;

impl Sessions {
    /// Opens the stream of a request for a session that is there.
    pub(super) fn open_logs(&self, request: &LogsRequest) -> Result<Stream<LogsResponse>, Error> {
        let followed = Followed::new(&self.hub, &request.id)?;
        let (publish, updates) = watch::channel(Arc::clone(&followed.first));
        let (sender, messages) = mpsc::channel(WAITING);
        let at_once = Arc::new(Semaphore::new(AT_ONCE));
        let readers: FuturesUnordered<_> = logs::select(request, &followed.first.spec)?
            .into_iter()
            .map(|selected| {
                let reader = Reader {
                    logs: self.logs.clone(),
                    hub: self.hub.clone(),
                    updates: updates.clone(),
                    follow: request.follow,
                    messages: Messages::new(&selected.component, selected.from),
                    selected,
                    at_once: Arc::clone(&at_once),
                    sender: sender.clone(),
                };
                reader.run()
            })
            .collect();
        let reading = async move {
            tokio::select! {
                () = readers.collect() => {}
                () = followed.run(publish) => {}
            }
        };
        Ok(stream(messages, reading, self.calls.drain().clone()))
    }
}

/// Returns the stream of what readers send. Dropping it ends them.
fn stream(
    messages: mpsc::Receiver<Item>,
    reading: impl Future<Output = ()> + Send + 'static,
    drain: Drain,
) -> Stream<LogsResponse> {
    let over = Box::pin(async move { drain.stream_over().await });
    let state = Some((messages, over, tasks::scoped(reading)));
    Box::pin(unfold(state, |state| async {
        let (mut messages, mut over, reading) = state?;
        tokio::select! {
            biased;
            () = &mut over => None,
            item = messages.recv() => match item? {
                Ok(message) => Some((Ok(message), Some((messages, over, reading)))),
                Err(error) => {
                    debug!(%error, "ending a stream of logs");
                    Some((Err::<_, Status>(errors::status(error)), None))
                }
            },
        }
    }))
}

/// A session whose updates are followed.
struct Followed {
    hub: Hub<SessionNoun>,
    subscription: Subscription<SessionUpdate>,
    first: Arc<SessionUpdate>,
}

impl Followed {
    fn new(hub: &Hub<SessionNoun>, id: &str) -> Result<Self, Error> {
        let look = || now(hub, id).ok_or_else(|| missing(id));
        let known = look()?;
        let filter = Filter::one(&known.id, &known.spec.queue);
        let subscription = hub.updates().subscribe(filter, SubscribeFrom::Now);
        // What changed before the subscription is in this.
        let first = Arc::new(look()?);
        Ok(Self {
            hub: hub.clone(),
            subscription,
            first,
        })
    }

    /// Passes on how the session is, until its id is another's.
    async fn run(mut self, publish: watch::Sender<Arc<SessionUpdate>>) {
        loop {
            match self.subscription.next().await {
                Ok(events) => {
                    for event in events {
                        if let UpdateEvent::Status(update) = event
                            && !self.pass_on(update, &publish)
                        {
                            return;
                        }
                    }
                }
                Err(_) => match Self::new(&self.hub, &self.first.id) {
                    Ok(again) if again.first.start_uid == self.first.start_uid => {
                        publish.send_replace(Arc::clone(&again.first));
                        self = again;
                    }
                    _ => return,
                },
            }
        }
    }

    fn pass_on(
        &self,
        update: Arc<SessionUpdate>,
        publish: &watch::Sender<Arc<SessionUpdate>>,
    ) -> bool {
        let is_same = update.start_uid == self.first.start_uid;
        if is_same {
            publish.send_if_modified(|state| {
                let is_newer = state.status.version < update.status.version;
                if is_newer {
                    *state = update;
                }
                is_newer
            });
        }
        is_same
    }
}

pub(super) fn now(hub: &Hub<SessionNoun>, id: &str) -> Option<SessionUpdate> {
    hub.read(|index| Some(SessionNoun::fold(index.by_id(id)?, &())))
}

/// Reads the log of one component.
struct Reader {
    logs: Logs,
    hub: Hub<SessionNoun>,
    /// Wakes with the session. After its end nothing is published, though other containers may still run.
    updates: watch::Receiver<Arc<SessionUpdate>>,
    follow: bool,
    selected: Selected,
    messages: Messages,
    at_once: Arc<Semaphore>,
    sender: mpsc::Sender<Item>,
}

/// Why a reader ends early.
enum Stop {
    Failed(Failure),
    /// The client is gone.
    Unheard,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Reader {
    async fn run(mut self) {
        let (mut failures, mut since) = (0, None);
        while let Some((pod, ended)) = self.found().await {
            let is_last = ended || !self.follow;
            let begun = Instant::now();
            let read = self.read(&pod, ended).await;
            match read {
                Ok(()) if is_last => return,
                Ok(()) => since = None,
                Err(Stop::Unheard | Stop::Failed(Failure::Gone)) => return,
                Err(Stop::Failed(Failure::Denied(error))) => return self.fail(error).await,
                Err(Stop::Failed(Failure::Passing(error))) => {
                    debug!(pod, %error, "trying again");
                    // What was read for a while was there: a connection without text is cut, too.
                    let failing = since.filter(|_| begun.elapsed() < BACKOFF.longest);
                    let failing = *since.insert(failing.unwrap_or_else(Instant::now));
                    if failing.elapsed() >= GIVE_UP {
                        return self.fail(error).await;
                    }
                }
            }
            failures = match begun.elapsed() < BACKOFF.longest {
                true => failures + 1,
                false => 0,
            };
            let pause = BACKOFF.jittered(failures);
            // An update may say that the container ended.
            let _ = timeout(pause, self.updates.changed()).await;
        }
    }

    async fn fail(&self, error: Error) {
        let _ = self.sender.send(Err(error)).await;
    }

    /// Returns the pod whose log is to be read, and whether its container ended; `None` if there is no log.
    async fn found(&mut self) -> Option<(String, bool)> {
        loop {
            let (id, start_uid) = {
                let update = self.updates.borrow_and_update();
                (Arc::clone(&update.id), Arc::clone(&update.start_uid))
            };
            let session = now(&self.hub, &id).filter(|session| session.start_uid == start_uid)?;
            let found = match logs::place(&session.status, &self.selected.component) {
                Place::Nowhere => return None,
                Place::Running(pod) => Some((pod.to_owned(), false)),
                Place::Ended(pod) => Some((pod.to_owned(), true)),
                Place::NotYet => None,
            };
            if found.is_some() || !self.follow {
                return found;
            }
            self.updates.changed().await.ok()?;
        }
    }

    /// Reads the log to its end, from where the last read ended.
    async fn read(&mut self, pod: &str, ended: bool) -> Result<(), Stop> {
        let follow = self.follow && !ended;
        let at_once = Arc::clone(&self.at_once);
        let _turn = match follow {
            true => None,
            false => at_once.acquire().await.ok(),
        };
        if let Some(tail) = self.selected.tail {
            let from = self.last_lines(pod, tail).await?;
            self.messages = Messages::new(&self.selected.component, from);
            self.selected.tail = None;
        }
        let from = self.messages.read_from();
        let mut log = self.open(pod, from, None, follow).await?;
        loop {
            let text = log.read().await?;
            let is_end = text.is_empty();
            self.messages.push(text);
            while let Some(message) = self.messages.take() {
                self.send(message).await?;
            }
            if is_end {
                break;
            }
        }
        if ended && let Some(rest) = self.messages.finish() {
            self.send(rest).await?;
        }
        Ok(())
    }

    async fn send(&self, message: LogsResponse) -> Result<(), Stop> {
        let sent = self.sender.send(Ok(message)).await;
        sent.map_err(|_| Stop::Unheard)
    }

    async fn open(
        &self,
        pod: &str,
        from: ReadFrom,
        tail: Option<u32>,
        follow: bool,
    ) -> Result<Log, Failure> {
        let query = Query {
            pod,
            container: MAIN,
            since: from.since(),
            tail,
            follow,
        };
        self.logs.open(&query).await
    }

    /// Returns where the last lines begin. The first of them may have the time of lines in front of it, which count for
    /// its position.
    async fn last_lines(&self, pod: &str, tail: u32) -> Result<ReadFrom, Failure> {
        let from = self.selected.from;
        let last = self.open(pod, from, Some(tail), false).await?;
        let last = self.first_time(last, from).await?;
        let Some(time) = last.time else {
            return Ok(from);
        };
        let from = ReadFrom::time(time);
        let all = self.open(pod, from, None, false).await?;
        let all = self.first_time(all, from).await?;
        Ok(ReadFrom::message(
            time,
            all.count.saturating_sub(last.count),
        ))
    }

    async fn first_time(&self, mut log: Log, from: ReadFrom) -> Result<FirstTime, Failure> {
        let mut first = FirstTime::default();
        let mut messages = Messages::new(&self.selected.component, from);
        loop {
            let text = log.read().await?;
            let is_end = text.is_empty();
            messages.push(text);
            while let Some(message) = messages.take() {
                if !first.count(&message) {
                    return Ok(first);
                }
            }
            if is_end {
                return Ok(first);
            }
        }
    }
}
