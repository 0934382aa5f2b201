//! Follows one kind of object: a paged list, then watches from its version.
//!
//! The list comes with its version, so that the index can distinguish an object that is gone from one that is newer
//! than the list. Every end of a watch is handled: after a clean end it continues at once from the last version, a
//! compacted version (410, as an event or as a status) leads to a new list, everything else to a backoff
//! (docs/faults.md#reading).

use std::collections::HashSet;
use std::time::Duration;

use futures::StreamExt;
use kube::Client;
use kube::core::params::{ListParams, WatchParams};
use kube::core::{Request, WatchEvent};
use serde::de::DeserializeOwned;
use tokio::time::timeout;
use tracing::{Instrument, debug, info, warn};

use super::errors::{self, Cause};
use crate::objects::{List, Object};
use crate::readiness::Component;
use crate::retry::{Backoff, LogOnce};
use crate::spans;

/// Timeout of one watch. Short, so that half-open connections and missed events are noticed soon.
const WATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// A watch without an event for longer than this is dead.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(35);
/// Timeout of one page of a list.
const LIST_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects in a page. A page is in memory as a whole, some ten kilobytes per object.
const PAGE: u32 = 200;
/// Between attempts, unless the server asks for more.
const BACKOFF: Backoff = Backoff::millis(100, 10_000);
/// A watch that ends this soon and empty counts as a failure, so that list and watch do not loop.
const TOO_SOON: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub struct Selection {
    /// Plural name for logs, such as `pods`.
    pub kind: &'static str,
    /// Collection path, such as `/api/v1/namespaces/default/pods`.
    pub path: String,
    /// Label selector; empty for all.
    pub labels: String,
    /// Field selector; empty for all.
    pub fields: String,
    /// The component that is not ready while RBAC forbids it.
    pub component: Component,
}

impl Selection {
    /// Returns all objects of a kind in a namespace.
    pub fn namespaced(kind: &'static str, namespace: &str, component: Component) -> Self {
        Self {
            kind,
            path: format!("/api/v1/namespaces/{namespace}/{kind}"),
            labels: String::new(),
            fields: String::new(),
            component,
        }
    }

    /// The resource as in `kubectl auth can-i`.
    fn resource(&self) -> String {
        let mut parts = self.path.trim_start_matches('/').split('/');
        match (parts.next(), parts.next()) {
            (Some("apis"), Some(group)) => format!("{}.{group}", self.kind),
            _ => self.kind.to_owned(),
        }
    }
}

/// A change of the objects.
#[derive(Debug)]
pub enum Event<T> {
    /// The object is in the current list.
    Item(T),
    /// The object was added or changed.
    Apply(T),
    /// The object was deleted; this is its last state.
    Delete(T),
    /// The list is complete. What is older than `version` and not in `names` is gone.
    Listed {
        /// Names in the list.
        names: HashSet<String>,
        /// Version of the list.
        version: u64,
    },
    /// The server answers and nothing changed.
    Alive,
}

/// Follows a selection for ever and passes every event to `sink`, in order.
pub async fn follow<T>(client: Client, selection: Selection, sink: impl FnMut(Event<T>))
where
    T: Object + DeserializeOwned + Clone + 'static,
{
    let span = spans::watch(selection.kind);
    list_and_watch(client, selection, sink)
        .instrument(span)
        .await;
}

async fn list_and_watch<T>(client: Client, selection: Selection, mut sink: impl FnMut(Event<T>))
where
    T: Object + DeserializeOwned + Clone + 'static,
{
    let mut pause = Pause::default();
    loop {
        let mut version = match list(&client, &selection, &mut sink).await {
            Ok(version) => version,
            Err(error) => {
                pause.after_failure(&selection, "list", &error).await;
                continue;
            }
        };
        loop {
            let started = tokio::time::Instant::now();
            match watch(&client, &selection, &mut version, &mut sink).await {
                Ok(received) if received || started.elapsed() >= TOO_SOON => {
                    pause.reset(&selection)
                }
                Ok(_) => pause.after_early_end(&selection).await,
                Err(error) if errors::is_expired(&error) => {
                    info!(
                        kind = selection.kind,
                        version, "history is gone, listing again"
                    );
                    break;
                }
                Err(error @ kube::Error::SerdeError(_)) => {
                    // Not even JSON: the position in the history is uncertain.
                    pause.after_failure(&selection, "watch", &error).await;
                    break;
                }
                Err(error) => pause.after_failure(&selection, "watch", &error).await,
            }
        }
    }
}

/// Passes on every object and then the end of the list; returns its version.
async fn list<T>(
    client: &Client,
    selection: &Selection,
    sink: &mut impl FnMut(Event<T>),
) -> kube::Result<String>
where
    T: Object + DeserializeOwned,
{
    let mut params = ListParams::default()
        .limit(PAGE)
        .labels(&selection.labels)
        .fields(&selection.fields);
    let mut names = HashSet::new();
    let mut first = None;
    loop {
        let request = Request::new(&selection.path)
            .list(&params)
            .map_err(kube::Error::BuildRequest)?;
        let text = timeout(LIST_TIMEOUT, client.request_text(request))
            .await
            .map_err(|_| late("list"))??;
        // Not `Client::request`: it logs a body that it cannot read, and bodies may have tokens.
        let page: List<T> = serde_json::from_str(&text).map_err(kube::Error::SerdeError)?;
        drop(text);
        // All pages have the version of the first; a server may send it only there.
        let version = first.get_or_insert(page.metadata.resource_version).clone();
        for object in page.items {
            names.insert(object.meta().name.clone());
            sink(Event::Item(object));
        }
        if page.metadata.continue_token.is_empty() {
            debug!(
                kind = selection.kind,
                objects = names.len(),
                version,
                "listed"
            );
            sink(Event::Listed {
                names,
                version: version.parse().unwrap_or(0),
            });
            return Ok(version);
        }
        params = params.continue_token(&page.metadata.continue_token);
    }
}

/// Passes on what happens after `version` and updates it; returns whether there was any event.
async fn watch<T>(
    client: &Client,
    selection: &Selection,
    version: &mut String,
    sink: &mut impl FnMut(Event<T>),
) -> kube::Result<bool>
where
    T: Object + DeserializeOwned + Clone + 'static,
{
    let seconds = u32::try_from(WATCH_TIMEOUT.as_secs()).unwrap_or(30);
    let params = WatchParams::default()
        .timeout(seconds)
        .labels(&selection.labels)
        .fields(&selection.fields);
    let request = Request::new(&selection.path)
        .watch(&params, version)
        .map_err(kube::Error::BuildRequest)?;
    let opening = timeout(IDLE_TIMEOUT, client.request_events::<T>(request));
    let mut events = opening.await.map_err(|_| late("watch"))??.boxed();
    selection.component.ready();
    sink(Event::Alive);
    let mut received = false;
    while let Some(event) = timeout(IDLE_TIMEOUT, events.next())
        .await
        .map_err(|_| late("watch"))?
    {
        received = true;
        match event? {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                advance(version, &object.meta().resource_version);
                sink(Event::Apply(object));
            }
            WatchEvent::Deleted(object) => {
                advance(version, &object.meta().resource_version);
                sink(Event::Delete(object));
            }
            WatchEvent::Bookmark(bookmark) => {
                advance(version, &bookmark.metadata.resource_version);
                sink(Event::Alive);
            }
            WatchEvent::Error(status) => return Err(kube::Error::Api(status)),
        }
    }
    Ok(received)
}

fn advance(version: &mut String, to: &str) {
    if !to.is_empty() {
        to.clone_into(version);
    }
}

fn late(what: &str) -> kube::Error {
    kube::Error::ReadEvents(std::io::Error::new(
        std::io::ErrorKind::TimedOut,
        format!("{what} got no answer in time"),
    ))
}

/// The wait between attempts, and one log line each time the reason changes.
#[derive(Debug, Default)]
struct Pause {
    failures: u32,
    logged: LogOnce,
    /// The last watch ended as soon as it began.
    ended_early: bool,
}

impl Pause {
    fn reset(&mut self, selection: &Selection) {
        if self.logged.clear() {
            info!(kind = selection.kind, "the API server is followed again");
        }
        self.failures = 0;
        self.ended_early = false;
    }

    async fn after_failure(&mut self, selection: &Selection, verb: &str, error: &kube::Error) {
        let why = errors::text(error);
        match errors::cause(error) {
            // Logged once, where requests are sent.
            Cause::NoAnswer => debug!(kind = selection.kind, verb, why, "no answer"),
            cause => {
                if !matches!(cause, Cause::Busy | Cause::Failing) {
                    let resource = selection.resource();
                    let reason = format!("cannot {verb} {resource}: {why}");
                    selection.component.not_ready(reason);
                }
                self.log(selection, verb, &why);
            }
        }
        self.wait(errors::retry_after(error)).await;
    }

    async fn after_early_end(&mut self, selection: &Selection) {
        // A lost connection looks like the end of a watch; the next attempt shows which it is.
        if std::mem::replace(&mut self.ended_early, true) {
            self.log(selection, "watch", "it ended at once");
        }
        self.wait(None).await;
    }

    fn log(&mut self, selection: &Selection, verb: &str, why: &str) {
        let kind = selection.kind;
        match self.logged.is_new(why) {
            true => warn!(kind, verb, why, "cannot follow the API server"),
            false => debug!(kind, verb, why, "still failing"),
        }
    }

    async fn wait(&mut self, asked: Option<Duration>) {
        let own = BACKOFF.jittered(self.failures);
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(own.max(asked.unwrap_or_default())).await;
    }
}

#[cfg(test)]
mod tests;
