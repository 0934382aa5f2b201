//! Workspaces are followed on any server of their protocol: with a subscription, then a list, and what both say.

use futures::stream;
use futures::{StreamExt, TryStreamExt};

use super::super::connect::{CallError, Connection};
use super::super::words;
use super::{Followed, Opened, SUBSCRIBED, Update};
use crate::proto::wsman::{
    GetWorkspacesRequest, MetadataFilter, SubscribeResponse, WorkspacePhase, WorkspaceStatus,
};

impl Followed for WorkspaceStatus {
    const NOUN: &'static str = "workspace";
    const ENDS_ONCE: bool = false;
    type Filter = Option<MetadataFilter>;

    fn id(&self) -> &str {
        &self.id
    }

    fn version(&self) -> u64 {
        self.status_version
    }

    fn has_ended(&self) -> bool {
        self.phase() == WorkspacePhase::Stopped
    }

    fn state(&self) -> String {
        let (phase, message) = (words::phase(self), words::message(self));
        match message.is_empty() {
            true => phase,
            false => format!("{phase}: {message}"),
        }
    }

    /// Subscribes first and lists second, so that every change is in one of them. Other servers of the protocol have no
    /// tokens.
    async fn open(
        connection: &Connection,
        filter: &Self::Filter,
        _: Option<&str>,
    ) -> Result<Opened<Self>, CallError> {
        let (to, must_match) = (connection.clone(), filter.clone());
        let mut opening = Box::pin(async move { to.subscribe(must_match).await });
        let to = connection.clone();
        let updates = match tokio::time::timeout(SUBSCRIBED, &mut opening).await {
            Ok(stream) => stream?.map_err(move |status| to.error(status)).boxed(),
            Err(_) => stream::once(opening)
                .map_ok(move |stream| {
                    let to = to.clone();
                    stream.map_err(move |status| to.error(status))
                })
                .try_flatten()
                .boxed(),
        };
        let request = GetWorkspacesRequest {
            must_match: filter.clone(),
        };
        let mut listed = connection.call(request).await?.status;
        words::sort(&mut listed);
        let update = |update: SubscribeResponse| Update {
            now: update.status,
            resume: None,
        };
        Ok(Opened {
            present: Some(listed),
            resume: None,
            updates: updates.map_ok(update).boxed(),
        })
    }
}
