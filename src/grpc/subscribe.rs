//! A subscription as a gRPC stream. It ends without error when the server drains.
//!
//! Request metadata: `wsman-snapshot: true` begins with every workspace as it is, `wsman-resume: <token>` goes on where
//! another stream stopped. The answer's metadata `wsman-began` tells what was begun with (`live`, `snapshot`, `resumed`);
//! the header of every message has the token to resume after it, and the `traceparent` of the start if there was one; that of the message without a status which ends a
//! snapshot also `wsman-snapshot: complete`.

use std::collections::{BTreeMap, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use futures::stream::unfold;
use tokio::time::Instant;
use tonic::Status;
use tonic::metadata::MetadataMap;
use tracing::debug;

use super::errors;
use crate::error::{Error, FieldViolation};
use crate::hub::{Began, Lagged, Start, Subscription, Told};
use crate::proto::encoded::SubscribeResponse;
use crate::tasks::Drain;
use crate::workspaces::resume::Token;
use crate::workspaces::trace::TRACEPARENT;

/// Metadata and header key of the token.
const RESUME: &str = "wsman-resume";
/// Metadata and header key of the snapshot.
const SNAPSHOT: &str = "wsman-snapshot";
/// Metadata key of what a stream began with.
pub const BEGAN: &str = "wsman-began";

/// A reader that takes nothing for this long is told to begin again (F-S1).
const STALLED: Duration = Duration::from_secs(60);

/// What Subscribe answers with.
pub type Updates = Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

/// Reads where a stream is to begin; `epoch` is that of this server's tokens.
///
/// # Errors
/// [`Error::Invalid`] naming a key whose value is not understood.
pub fn start(metadata: &MetadataMap, epoch: u64) -> Result<Start, Error> {
    let text = |key| metadata.get(key).map(|value| value.to_str().unwrap_or("?"));
    if let Some(text) = text(RESUME) {
        let token: Token = text
            .parse()
            .map_err(|_| unclear(RESUME, text, "a token from the header of a message"))?;
        return Ok(match token.epoch == epoch {
            true => Start::Resume(token.version),
            false => Start::Snapshot,
        });
    }
    match text(SNAPSHOT) {
        None | Some("false") => Ok(Start::Now),
        Some("true") => Ok(Start::Snapshot),
        Some(text) => Err(unclear(SNAPSHOT, text, "true or false")),
    }
}

fn unclear(key: &str, value: &str, expected: &str) -> Error {
    let why = format!("{value:?} is not {expected}");
    Error::Invalid {
        message: format!("metadata {key}: {why}"),
        violations: vec![FieldViolation::new(key, why)],
    }
}

/// What a stream began with, as [`BEGAN`] tells it.
pub fn word(began: Began) -> &'static str {
    match began {
        Began::Live => "live",
        Began::Snapshot => "snapshot",
        Began::Resumed => "resumed",
    }
}

/// Returns the stream of a subscription. A dropped stream costs nothing: the cursor goes with it.
pub fn stream(subscription: Subscription, epoch: u64, drain: Drain) -> Updates {
    let over = Box::pin(async move { drain.stream_over().await });
    let reader = Reader {
        subscription,
        epoch,
        over,
        read: VecDeque::new(),
        taken: Instant::now(),
        ended: false,
    };
    Box::pin(unfold(reader, |mut reader| async {
        let item = reader.next().await?;
        reader.taken = Instant::now();
        Some((item, reader))
    }))
}

struct Reader {
    subscription: Subscription,
    epoch: u64,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    read: VecDeque<Told>,
    /// When the last message was taken. The next is asked for as soon as there is room for it.
    taken: Instant,
    ended: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<SubscribeResponse, Status>> {
        if self.ended {
            return None;
        }
        if self.taken.elapsed() > STALLED {
            return Some(Err(self.end(Error::Exhausted {
                limit: "UNREAD",
                why: format!("nothing was read for {STALLED:?}: subscribe again"),
                retry_after: None,
            })));
        }
        while self.read.is_empty() {
            let next = tokio::select! {
                biased;
                // First, so that a flood of updates cannot keep a server from ending.
                () = &mut self.over => return None,
                next = self.subscription.next() => next,
            };
            match next {
                Ok(told) => self.read.extend(told),
                Err(Lagged) => {
                    return Some(Err(self.end(Error::Unavailable {
                        why: "updates were lost to this subscriber: list again, then subscribe"
                            .to_owned(),
                        retry_after: None,
                    })));
                }
            }
        }
        self.read.pop_front().map(|told| Ok(self.message(&told)))
    }

    fn message(&self, told: &Told) -> SubscribeResponse {
        let token = |version| {
            let epoch = self.epoch;
            (RESUME.to_owned(), Token { epoch, version }.to_string())
        };
        match told {
            Told::Update(update) => {
                let encode = || {
                    let trace = update.traceparent.as_deref();
                    let trace = trace.map(|parent| (TRACEPARENT.to_owned(), parent.to_owned()));
                    let token = token(update.status.version());
                    let header = [token].into_iter().chain(trace).collect();
                    SubscribeResponse::new(Some(&update.status), &header)
                };
                update.message.get_or_init(encode).clone()
            }
            Told::Complete(version) => {
                let marker = (SNAPSHOT.to_owned(), "complete".to_owned());
                SubscribeResponse::new(None, &BTreeMap::from([token(*version), marker]))
            }
        }
    }

    fn end(&mut self, why: Error) -> Status {
        debug!(%why, "ending a subscription");
        self.ended = true;
        errors::status(why)
    }
}
