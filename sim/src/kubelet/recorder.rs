//! Writes Kubernetes Events in the background, so that they never delay a pod; repeats are counted.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::pod::Pod;

/// Events that wait for a write; more than this are dropped, as in a real recorder.
const BACKLOG: usize = 16_384;
/// Concurrent writes.
const WRITERS: usize = 8;

/// What happened to a pod, for an Event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Note {
    pub(crate) warning: bool,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl Note {
    pub(crate) fn normal(reason: &str, message: impl Into<String>) -> Note {
        Note {
            warning: false,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn warning(reason: &str, message: impl Into<String>) -> Note {
        Note {
            warning: true,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// Takes events for writing.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    events: mpsc::Sender<Event>,
    normal: bool,
}

impl Recorder {
    /// A recorder, and the task that writes for it until the last recorder is gone.
    pub(crate) fn new(client: Client, normal: bool) -> (Recorder, impl Future<Output = ()>) {
        let (events, queue) = mpsc::channel(BACKLOG);
        (Recorder { events, normal }, write_all(client, queue))
    }

    /// Records what `component` did to `pod`.
    pub(crate) fn note(&self, pod: &Pod, component: &str, host: Option<&str>, note: Note) {
        if !note.warning && !self.normal {
            return;
        }
        let event = event(pod, component, host, note, Timestamp::now());
        if self.events.try_send(event).is_err() {
            tracing::debug!(pod = pod.name(), "an event is dropped: too many wait");
        }
    }
}

/// The name of the event, equal for repeats on the same pod.
pub(crate) fn event_name(pod: &str, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let suffix = u64::from_be_bytes(std::array::from_fn(|i| digest[i]));
    // 253 bytes is the longest legal name.
    format!("{pod:.236}.{suffix:016x}")
}

pub(crate) fn event(
    pod: &Pod,
    component: &str,
    host: Option<&str>,
    note: Note,
    now: Timestamp,
) -> Event {
    let kind = if note.warning { "Warning" } else { "Normal" };
    let name = event_name(pod.name(), &[pod.uid(), &note.reason, &note.message]);
    Event {
        metadata: ObjectMeta {
            name: Some(name),
            namespace: Some(pod.namespace().to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(pod.name().to_owned()),
            namespace: Some(pod.namespace().to_owned()),
            uid: Some(pod.uid().to_owned()),
            resource_version: pod.metadata.resource_version.clone(),
            ..ObjectReference::default()
        },
        type_: Some(kind.to_owned()),
        reason: Some(note.reason),
        // The API server accepts up to 1024 bytes.
        message: Some(note.message.chars().take(1000).collect()),
        source: Some(EventSource {
            component: Some(component.to_owned()),
            host: host.map(str::to_owned),
        }),
        reporting_component: Some(component.to_owned()),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        count: Some(1),
        ..Event::default()
    }
}

/// Creates the event, or counts it once more; returns its count.
pub(crate) async fn record(client: &Client, event: &Event) -> kube::Result<i32> {
    let namespace = event.metadata.namespace.as_deref().unwrap_or_default();
    let name = event.metadata.name.as_deref().unwrap_or_default();
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    match api.create(&PostParams::default(), event).await {
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => {}
        other => return other.map(|_| 1),
    }
    let count = api.get(name).await?.count.unwrap_or(1) + 1;
    let again = json!({ "count": count, "lastTimestamp": event.last_timestamp });
    api.patch(name, &PatchParams::default(), &Patch::Merge(again))
        .await?;
    Ok(count)
}

async fn write_all(client: Client, mut queue: mpsc::Receiver<Event>) {
    let mut writes = JoinSet::new();
    while let Some(event) = queue.recv().await {
        if writes.len() >= WRITERS {
            writes.join_next().await;
        }
        let client = client.clone();
        writes.spawn(async move {
            let write = tokio::time::timeout(super::perform::TIMEOUT, record(&client, &event));
            match write.await {
                Ok(Ok(_)) => {}
                // The namespace is terminating, or RBAC forbids events: the pods continue without them.
                Ok(Err(error)) => tracing::debug!(%error, "an event is lost"),
                Err(_) => tracing::debug!("an event is lost: the API server does not answer"),
            }
        });
    }
    while writes.join_next().await.is_some() {}
}
