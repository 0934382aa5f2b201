//! A subscription as a gRPC stream. It ends without error when the server drains.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use futures::stream::unfold;
use tonic::Status;

use super::errors;
use crate::error::Error;
use crate::hub::{Lagged, Subscription};
use crate::index::Update;
use crate::proto::encoded::SubscribeResponse;
use crate::tasks::Drain;

/// What Subscribe answers with.
pub type Updates = Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

/// Returns the stream of a subscription. A dropped stream costs nothing: the cursor goes with it.
pub fn stream(subscription: Subscription, drain: Drain) -> Updates {
    let over = Box::pin(async move { drain.stream_over().await });
    let reader = Reader {
        subscription,
        over,
        read: VecDeque::new(),
        lost: false,
    };
    Box::pin(unfold(reader, |mut reader| async {
        let item = reader.next().await?;
        Some((item, reader))
    }))
}

struct Reader {
    subscription: Subscription,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
    read: VecDeque<Arc<Update>>,
    lost: bool,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<SubscribeResponse, Status>> {
        loop {
            if let Some(update) = self.read.pop_front() {
                let status = Some(update.status.clone());
                return Some(Ok(SubscribeResponse {
                    status,
                    ..SubscribeResponse::default()
                }));
            }
            if self.lost {
                return None;
            }
            let next = tokio::select! {
                biased;
                // First, so that a flood of updates cannot keep a server from ending.
                () = &mut self.over => return None,
                next = self.subscription.next() => next,
            };
            match next {
                Ok(updates) => self.read.extend(updates),
                Err(Lagged) => {
                    self.lost = true;
                    let why = "updates were lost to this subscriber: list again, then subscribe"
                        .to_owned();
                    return Some(Err(errors::status(Error::Unavailable {
                        why,
                        retry_after: None,
                    })));
                }
            }
        }
    }
}
