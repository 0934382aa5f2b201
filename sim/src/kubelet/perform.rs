//! The simulation's writes to a pod; each is safe to retry.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, Node};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Status;
use kube::{Api, Client};
use serde_json::{Value, json};

use super::Pace;
use super::node::{LOST, LOST_BY};
use super::pod::Pod;
use super::recorder::{self, Note, Recorder};
use super::report::{self, Place};
use crate::script::{Act, Script};

/// Timeout of a call: a half-open connection would block it for ever.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// One act on one pod, with everything that it needs.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) pod: Arc<Pod>,
    pub(crate) act: Act,
    pub(crate) script: Script,
    pub(crate) pace: Pace,
    /// The node of the pod, or the one to bind it to.
    pub(crate) node: String,
    pub(crate) place: Place,
    /// The pods that stopped this node, as in its annotation.
    pub(crate) lost_by: String,
}

/// Why a write failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the API server refused it")]
    Api(#[from] kube::Error),
    #[error("the API server did not answer in time")]
    Timeout,
}

/// Does the job; returns the pod after it, if the API server returns it.
pub(crate) async fn perform(
    client: &Client,
    recorder: &Recorder,
    job: Job,
) -> Result<Option<Pod>, Error> {
    match tokio::time::timeout(TIMEOUT, act(client, recorder, job)).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::Timeout),
    }
}

async fn act(client: &Client, recorder: &Recorder, job: Job) -> kube::Result<Option<Pod>> {
    match &job.act {
        Act::Schedule => bind(client, recorder, &job).await.map(|()| None),
        Act::Unschedulable(message) => unschedulable(client, recorder, &job.pod, message).await,
        Act::Confirm => confirm(client, &job.pod).await,
        Act::LoseNode => lose_node(client, &job).await.map(|()| None),
        Act::Reject(reason, Some(times)) => reject(client, recorder, &job, reason, *times).await,
        act => report(client, recorder, &job, act).await,
    }
}

async fn report(
    client: &Client,
    recorder: &Recorder,
    job: &Job,
    act: &Act,
) -> kube::Result<Option<Pod>> {
    let now = Timestamp::now();
    let report = report::of(&job.pod, act, &job.script, &job.pace, &job.place, now);
    let pod = patch_status(client, &job.pod, Value::Object(report.status)).await?;
    for note in report.notes {
        recorder.note(&job.pod, "kubelet", Some(&job.node), note);
    }
    Ok(Some(pod))
}

async fn bind(client: &Client, recorder: &Recorder, job: &Job) -> kube::Result<()> {
    let pod = &job.pod;
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.namespace());
    let binding = json!({
        "apiVersion": "v1",
        "kind": "Binding",
        "metadata": { "name": pod.name(), "namespace": pod.namespace(), "uid": pod.uid() },
        "target": { "apiVersion": "v1", "kind": "Node", "name": job.node },
    });
    let _: Status = api
        .create_subresource("binding", pod.name(), &PostParams::default(), &binding)
        .await?;
    let message = format!(
        "Successfully assigned {}/{} to {}",
        pod.namespace(),
        pod.name(),
        job.node
    );
    recorder.note(
        pod,
        "default-scheduler",
        None,
        Note::normal("Scheduled", message),
    );
    Ok(())
}

async fn unschedulable(
    client: &Client,
    recorder: &Recorder,
    pod: &Pod,
    message: &str,
) -> kube::Result<Option<Pod>> {
    let mut condition = json!({
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": message,
    });
    if pod
        .condition("PodScheduled")
        .is_none_or(|(status, _)| status != "False")
    {
        let now = k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(Timestamp::now());
        condition["lastTransitionTime"] = json!(now);
    }
    let updated = patch_status(client, pod, json!({ "conditions": [condition] })).await?;
    let note = Note::warning("FailedScheduling", message);
    recorder.note(pod, "default-scheduler", None, note);
    Ok(Some(updated))
}

async fn confirm(client: &Client, pod: &Pod) -> kube::Result<Option<Pod>> {
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.namespace());
    let params = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions {
            uid: Some(pod.uid().to_owned()),
            resource_version: None,
        }),
        ..DeleteParams::default()
    };
    let answer = api.delete(pod.name(), &params).await?;
    // The last state of a pod that is gone has no finalizers; only one that is still there is of use.
    Ok(answer.left().filter(|pod| {
        pod.metadata
            .finalizers
            .as_ref()
            .is_some_and(|f| !f.is_empty())
    }))
}

async fn lose_node(client: &Client, job: &Job) -> kube::Result<()> {
    let api: Api<Node> = Api::all(client.clone());
    let by = match job.lost_by.as_str() {
        "" => job.pod.uid().to_owned(),
        others => format!("{others},{}", job.pod.uid()),
    };
    let patch = json!({ "metadata": { "annotations": { LOST: "true", LOST_BY: by } } });
    api.patch_metadata(&job.node, &PatchParams::default(), &Patch::Merge(patch))
        .await?;
    Ok(())
}

/// Refuses a pod, and those that belong to it, `times` times; the event of the refusal is what counts them.
async fn reject(
    client: &Client,
    recorder: &Recorder,
    job: &Job,
    reason: &str,
    times: u32,
) -> kube::Result<Option<Pod>> {
    let pod = &job.pod;
    let name = recorder::event_name(pod.owner().unwrap_or(pod.name()), &["rejected", reason]);
    let events: Api<Event> = Api::namespaced(client.clone(), pod.namespace());
    let so_far = events
        .get_opt(&name)
        .await?
        .map_or(0, |event| event.count.unwrap_or(1));
    if i64::from(so_far) >= i64::from(times) {
        return report(client, recorder, job, &Act::Accept).await;
    }
    let now = Timestamp::now();
    let report = report::of(pod, &job.act, &job.script, &job.pace, &job.place, now);
    let updated = patch_status(client, pod, Value::Object(report.status)).await?;
    for note in report.notes {
        let mut event = recorder::event(pod, "kubelet", Some(&job.node), note, now);
        event.metadata.name = Some(name.clone());
        recorder::record(client, &event).await?;
    }
    Ok(Some(updated))
}

/// The uid makes the patch fail on another pod of the same name.
pub(crate) async fn patch_status(client: &Client, pod: &Pod, status: Value) -> kube::Result<Pod> {
    let api: Api<Pod> = Api::namespaced(client.clone(), pod.namespace());
    let patch = json!({ "metadata": { "uid": pod.uid() }, "status": status });
    api.patch_status(
        pod.name(),
        &PatchParams::default(),
        &Patch::Strategic(patch),
    )
    .await
}
