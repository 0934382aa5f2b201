//! A subscription as a gRPC stream, of any noun. It ends with OK when the server drains.
//!
//! Request metadata: `wsman-snapshot: true` starts with every group as it is, `wsman-resume: <token>` continues
//! where another stream ended. The metadata `wsman-began` of the response is `live`, `snapshot` or `resumed`. The
//! header of every message has the resume token, and the `traceparent` and `uber-trace-id` of the start request, if
//! any. The message that ends a snapshot has no status and the header `wsman-snapshot: complete`.
//!
//! A reader that reads nothing for a minute loses its stream: its pending messages are dropped at once, and behind what
//! the transport holds it receives RESOURCE_EXHAUSTED.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::stream::unfold;
use tokio::time::{Instant, timeout};
use tokio_util::task::AbortOnDropHandle;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Response, Status};
use tracing::debug;

use crate::error::Error;
use crate::proto::answers::SubscribeResponse;
use crate::proto::wsman::sessions::v1 as sessions;
use crate::rpc::errors;
use crate::sessions::update::SessionUpdate;
use crate::tasks::{self, Drain};
use crate::updates::resume::Token;
use crate::updates::{
    Lagged, News, StartedFrom, SubscribeFrom, Subscription, Update, UpdateEvent, Updates,
};
use crate::workspaces::update::StatusUpdate;

/// Metadata and header key of the token.
pub const RESUME: &str = "wsman-resume";
/// Metadata and header key of the snapshot.
pub const SNAPSHOT: &str = "wsman-snapshot";
/// Metadata key of where a stream started.
pub const BEGAN: &str = "wsman-began";

/// How far a replica may be behind another before a resumed stream gets a snapshot instead.
const BEHIND: Duration = Duration::from_secs(1);
/// A reader that reads nothing for this long receives an error and must resync (F-S1).
const STALLED: Duration = Duration::from_secs(60);
/// How often the watchdog checks a reader.
const LOOK: Duration = Duration::from_secs(10);

/// An update that streams send as a message.
pub trait Streamed: Update {
    type Message: Clone + Send + 'static;

    /// Returns the message of the update. Its header has the token, and what the update adds.
    fn message(&self, token: (String, String)) -> Self::Message;

    /// Returns the message that ends a snapshot.
    fn marker(header: BTreeMap<String, String>) -> Self::Message;
}

/// The response of Subscribe.
pub type Stream<M> = Pin<Box<dyn futures::Stream<Item = Result<M, Status>> + Send>>;

/// Reads where a stream starts. `epoch` is that of this server's tokens.
///
/// # Errors
/// [`Error::Invalid`] with the key of an invalid value.
pub fn start(metadata: &MetadataMap, epoch: u64) -> Result<SubscribeFrom, Error> {
    let text = |key| metadata.get(key).map(|value| value.to_str().unwrap_or("?"));
    if let Some(text) = text(RESUME) {
        let token: Token = text
            .parse()
            .map_err(|_| errors::metadata(RESUME, "a token from the header of a message"))?;
        return Ok(match token.epoch == epoch {
            true => SubscribeFrom::Resume(token.version),
            false => SubscribeFrom::Snapshot,
        });
    }
    match text(SNAPSHOT) {
        None | Some("false") => Ok(SubscribeFrom::Now),
        Some("true") => Ok(SubscribeFrom::Snapshot),
        Some(_) => Err(errors::metadata(SNAPSHOT, "true or false")),
    }
}

/// Opens a stream.
pub async fn open<U: Streamed>(
    updates: &Updates<U>,
    filter: U::Filter,
    from: SubscribeFrom,
    epoch: u64,
    drain: Drain,
) -> Response<Stream<U::Message>> {
    if let SubscribeFrom::Resume(version) = from {
        // The other replica may be a moment ahead. What it sent is sent here too.
        let _ = timeout(BEHIND, updates.reached(version)).await;
    }
    let subscription = updates.subscribe(filter, from);
    let began = MetadataValue::from_static(word(subscription.started_from()));
    let mut response = Response::new(stream(subscription, epoch, drain));
    response.metadata_mut().insert(BEGAN, began);
    response
}

/// Where a stream started, as a value of [`BEGAN`].
fn word(from: StartedFrom) -> &'static str {
    match from {
        StartedFrom::Live => "live",
        StartedFrom::Snapshot => "snapshot",
        StartedFrom::Resumed => "resumed",
    }
}

/// Returns the stream of a subscription. Dropping it drops its cursor.
fn stream<U: Streamed>(
    subscription: Subscription<U>,
    epoch: u64,
    drain: Drain,
) -> Stream<U::Message> {
    let news = subscription.news();
    let reader = Reader {
        subscription,
        epoch,
        read: VecDeque::new(),
        asked: 0,
    };
    let reader = Shared(Arc::new(Mutex::new(Some(reader))));
    let watch = watch(Arc::downgrade(&reader.0));
    let followed = Followed {
        // A reader without room for a message does not ask for one, and cannot measure how long that lasts.
        _watchdog: tasks::scoped(watch),
        reader,
        news,
        over: Box::pin(async move { drain.stream_over().await }),
        ended: false,
    };
    Box::pin(unfold(followed, |mut followed| async {
        let item = followed.next().await?;
        Some((item, followed))
    }))
}

/// A subscription and its stream's state.
struct Followed<U: Streamed> {
    reader: Shared<U>,
    news: News,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    ended: bool,
    _watchdog: AbortOnDropHandle<()>,
}

impl<U: Streamed> Followed<U> {
    async fn next(&mut self) -> Option<Result<U::Message, Status>> {
        if self.ended {
            return None;
        }
        // First, so that a flood of updates does not delay the end.
        while futures::poll!(&mut self.over).is_pending() {
            let cursor = match self.reader.with(|reader| reader.as_mut().map(Reader::next)) {
                Some(Ok(Next::Message(message))) => return Some(Ok(message)),
                Some(Ok(Next::NothingAfter(cursor))) => cursor,
                Some(Err(Lagged)) => {
                    let why = "updates were lost to this subscriber: list again, then subscribe";
                    return self.end(Error::Unavailable {
                        why: why.to_owned(),
                        retry_after: None,
                    });
                }
                None => {
                    return self.end(Error::Exhausted {
                        limit: "UNREAD",
                        why: format!(
                            "nothing was read for {STALLED:?}: resync by subscribing again"
                        ),
                        retry_after: None,
                    });
                }
            };
            tokio::select! {
                () = &mut self.over => return None,
                () = self.news.after(cursor) => {}
            }
        }
        None
    }

    fn end(&mut self, why: Error) -> Option<Result<U::Message, Status>> {
        debug!(%why, "ending a subscription");
        self.ended = true;
        Some(Err(errors::status(why)))
    }
}

/// The reader of a stream; none once it is dropped.
struct Shared<U: Streamed>(Arc<Mutex<Option<Reader<U>>>>);

impl<U: Streamed> Shared<U> {
    fn with<T>(&self, act: impl FnOnce(&mut Option<Reader<U>>) -> T) -> T {
        // A reader that panics leaves no partial state behind.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Drops a reader that reads nothing for too long although it has updates. It checks by the clock only: updates wake
/// nothing else.
async fn watch<U: Streamed>(reader: Weak<Mutex<Option<Reader<U>>>>) {
    let (mut before, mut stuck) = (0, None);
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(reader) = reader.upgrade() else {
            return;
        };
        Shared(reader).with(|slot| {
            let Some(reader) = slot else { return };
            let since = stuck.filter(|_| reader.asked == before);
            stuck = reader
                .is_behind()
                .then(|| since.unwrap_or_else(Instant::now));
            before = reader.asked;
            slot.take_if(|_| stuck.is_some_and(|since| since.elapsed() >= STALLED));
        });
    }
}

struct Reader<U: Streamed> {
    subscription: Subscription<U>,
    epoch: u64,
    read: VecDeque<UpdateEvent<U>>,
    /// How often a message was polled for.
    asked: u64,
}

enum Next<M> {
    Message(M),
    NothingAfter(u64),
}

impl<U: Streamed> Reader<U> {
    fn next(&mut self) -> Result<Next<U::Message>, Lagged> {
        self.asked += 1;
        loop {
            if let Some(event) = self.read.pop_front() {
                return Ok(Next::Message(self.message(&event)));
            }
            self.read.extend(self.subscription.ready()?);
            if self.read.is_empty() {
                return Ok(Next::NothingAfter(self.subscription.cursor()));
            }
        }
    }

    fn is_behind(&self) -> bool {
        !self.read.is_empty() || !self.subscription.is_done()
    }

    fn message(&self, event: &UpdateEvent<U>) -> U::Message {
        let token = |version| {
            let epoch = self.epoch;
            (RESUME.to_owned(), Token { epoch, version }.to_string())
        };
        match event {
            UpdateEvent::Status(update) => update.message(token(update.version())),
            UpdateEvent::SnapshotComplete(version) => {
                let marker = (SNAPSHOT.to_owned(), "complete".to_owned());
                U::marker([token(*version), marker].into())
            }
        }
    }
}

impl Streamed for StatusUpdate {
    type Message = SubscribeResponse;

    fn message(&self, token: (String, String)) -> SubscribeResponse {
        let encode = || {
            let trace = self.trace.headers();
            let trace = trace.map(|(name, text)| (name.to_owned(), text.to_owned()));
            let header = [token].into_iter().chain(trace).collect();
            SubscribeResponse::new(Some(&self.status), &header)
        };
        self.message.get_or_init(encode).clone()
    }

    fn marker(header: BTreeMap<String, String>) -> SubscribeResponse {
        SubscribeResponse::new(None, &header)
    }
}

impl Streamed for SessionUpdate {
    type Message = sessions::SubscribeResponse;

    fn message(&self, token: (String, String)) -> sessions::SubscribeResponse {
        let make = || sessions::SubscribeResponse {
            session: Some(self.session()),
            header: [token].into(),
        };
        self.message.get_or_init(make).clone()
    }

    fn marker(header: BTreeMap<String, String>) -> sessions::SubscribeResponse {
        sessions::SubscribeResponse {
            session: None,
            header,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::hub::Hub;
    use crate::index::{Changes, Index};
    use crate::proto::encoded::Encoded;
    use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};
    use crate::workspaces::entry::Workspace;
    use crate::workspaces::filter::Filter;

    fn subscribe(hub: &Hub<Workspace>) -> Stream<SubscribeResponse> {
        let subscription = hub
            .updates()
            .subscribe(Filter::default(), SubscribeFrom::Now);
        stream(subscription, 0, Drain::new(Duration::ZERO))
    }

    fn publish(hub: &Hub<Workspace>, version: u64) {
        let status = WorkspaceStatus {
            id: "a".to_owned(),
            status_version: version,
            phase: WorkspacePhase::Running.into(),
            ..Default::default()
        };
        hub.change(|_| Changes {
            updates: vec![StatusUpdate::new("a", Encoded::new(status)).into()],
            ..Changes::default()
        });
    }

    #[tokio::test(start_paused = true)]
    async fn fs1_a_reader_that_reads_nothing_for_a_minute_gets_an_error() {
        let hub = Hub::new(Index::default());
        let mut updates = subscribe(&hub);
        publish(&hub, 1);
        publish(&hub, 2);
        updates.next().await.unwrap().unwrap();
        tokio::time::sleep(STALLED - Duration::from_millis(10)).await;
        assert_eq!(hub.updates().subscribers(), 1);
        updates.next().await.unwrap().unwrap();
        // Each message that is read starts the minute again.
        tokio::time::sleep(STALLED - Duration::from_millis(10)).await;
        assert_eq!(hub.updates().subscribers(), 1);
        publish(&hub, 3);
        tokio::time::sleep(STALLED - Duration::from_millis(10)).await;
        assert_eq!(hub.updates().subscribers(), 1);
        tokio::time::sleep(LOOK).await;
        assert_eq!(hub.updates().subscribers(), 0, "nothing is kept for it");
        let error = updates.next().await.unwrap().unwrap_err();
        assert_eq!(error.code(), tonic::Code::ResourceExhausted);
        assert!(error.message().contains("resync"), "{error}");
        assert!(updates.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_for_news_may_wait_for_ever() {
        let hub = Hub::new(Index::default());
        let mut updates = subscribe(&hub);
        for version in 1..4 {
            let day = Duration::from_secs(86_400);
            assert!(tokio::time::timeout(day, updates.next()).await.is_err());
            publish(&hub, version);
            updates.next().await.unwrap().unwrap();
        }
        drop(updates);
        assert_eq!(hub.updates().subscribers(), 0);
    }
}
