//! What the index keeps of a pod beside its status: all that the lifecycle needs of it and of its node, extracted once.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::container;
pub use super::container::PodPhase;
use super::content::last_backup::LastBackup;
use super::content::report::{self, Saving};
use super::marks::{FINALIZER, annotation, label};
use super::names;
use super::rejected;
use super::status::NotWorkspace;
use super::trace::{self, Trace};
use crate::duration::GoDuration;
use crate::index::observed::{NodeView, Observed};
use crate::objects::{ContainerStatus, Node, Pod, Taint};
use crate::proto::wsman::{PortSpec, WorkspaceConditionBool, WorkspaceStatus, WorkspaceType};

/// How far the node component is with disposing of the content (`gitpod.io/disposalStatus`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Disposal {
    /// Not begun, or not readable.
    #[default]
    None,
    /// Under way.
    Started,
    /// Under way, after an attempt that failed.
    Retrying,
    /// Done, with or without success.
    Finished,
}

/// What `decide` needs of one workspace beside its status.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PodState {
    /// `gitpod/servicePrefix`: names the workspace's Services. Empty if it is missing or can name nothing.
    pub service_prefix: String,
    /// The trace it was started in, as far as the caller named one.
    pub trace: Trace,
    /// Version of the pod.
    pub version: u64,
    /// Name of the pod that takes its place; empty where none does.
    pub successor: Box<str>,
    /// Other programs no longer find it as a workspace.
    pub handed_over: bool,
    /// When the pod was created.
    pub created: Option<Timestamp>,
    /// When ControlPort last changed the ports.
    pub ports_changed: Option<Timestamp>,
    /// When a running deletion's grace ends.
    pub deleting: Option<Timestamp>,
    /// Seconds of grace of a running deletion; at 0 nothing but finalizers holds the pod.
    pub grace: Option<i64>,
    /// Since when the workspace is STOPPED, where the pod says so.
    pub stopped_at: Option<Timestamp>,
    /// Grace that a stop by request asks for.
    pub stop_grace: Option<Duration>,
    /// `gitpod/customTimeout`, where it is a duration.
    pub custom_timeout: Option<GoDuration>,
    /// `gitpod/customClosedTimeout`, where it is a duration.
    pub custom_closed_timeout: Option<GoDuration>,
    /// `wsman.dev/maximum-lifetime`, where it is a duration above zero.
    pub maximum_lifetime: Option<GoDuration>,
    /// When the node counts as lost: unreachable or out of service for longer than the pod bears.
    pub node_lost_at: Option<Timestamp>,
    /// When any taint of the node drives the pod away.
    pub evicted_at: Option<Timestamp>,
    pub pod_phase: PodPhase,
    /// The guest fills the workspace.
    pub filling: bool,
    /// How far the guest is with saving the content.
    pub saving: Saving,
    /// What the store has of content that was not saved at the end, once that was looked up.
    pub last_backup: Option<Box<LastBackup>>,
    /// When the container `workspace` ended, if the kubelet says so.
    pub ended_at: Option<Timestamp>,
    /// Content disposal.
    pub disposal: Disposal,
    /// VolumeSnapshotClass of its volume; empty for the cluster's default.
    pub snapshot_class: Box<str>,
    /// The content is on a PersistentVolumeClaim.
    pub on_volume: bool,
    /// The node object is gone.
    pub node_gone: bool,
    /// The pod is bound to a node.
    pub bound: bool,
    /// The pod has our finalizer.
    pub held: bool,
    /// Another finalizer keeps the pod.
    pub held_by_others: bool,
    /// wsman made the pod, and its Services.
    pub ours: bool,
    /// A classic manager's start has not finished.
    pub attempting: bool,
    /// Content initialisation returned.
    pub initialized: bool,
    /// Never was ready so far.
    pub never_ready: bool,
    /// The pod has the mark that says so.
    pub never_ready_mark: bool,
    /// The kubelet says that the workspace is ready.
    pub kubelet_ready: bool,
    /// Container `workspace` has a status and does not run (waiting counts: docs/protocol.md#lifecycle).
    pub container_ended: bool,
    /// Container `workspace` started once.
    pub started: bool,
    /// Since when the pod could start, if it were not for its Secret, which the kubelet does not find.
    pub secret_missing_since: Option<Timestamp>,
    /// The pod was refused: it failed before anything of it started. Another node might take it.
    pub rejected: bool,
    /// When the kubelet first reported the pod: of a rejected one, when it was rejected.
    pub reported: Option<Timestamp>,
    /// The failure was noticed before the stop.
    pub failed_before_stopping: bool,
    /// A failure was set explicitly.
    pub explicit_fail: bool,
    /// The first failure's text is on the pod.
    pub failure_recorded: bool,
    /// A timeout is marked.
    pub timed_out: bool,
    /// The stop was an abort: no backup.
    pub abort: bool,
    /// The user was active once.
    pub ever_active: bool,
    /// The user has it closed.
    pub closed: bool,
    /// Marks that are missing or unreadable; empty if there is none.
    pub unreadable: Box<str>,
    /// Why it is no workspace, as far as its marks go.
    pub not_workspace: Option<NotWorkspace>,
    /// Being stuck was reported.
    pub stuck: bool,
    /// Why the workspace failed, as its status says; empty where it did not.
    pub failure: Box<str>,
    /// Nobody looks at it.
    pub headless: bool,
    /// It is a prebuild.
    pub prebuild: bool,
    /// Its snapshot is there.
    pub has_snapshot: bool,
    /// Its images are being pulled.
    pub pulling_images: bool,
    /// The last backup is complete.
    pub backed_up: bool,
    /// Its exposed ports.
    pub exposed_ports: Vec<PortSpec>,
}

impl PodState {
    /// Whether a stop was asked for, or a timeout has passed.
    pub fn is_asked_to_end(&self) -> bool {
        self.stop_grace.is_some() || self.timed_out
    }
}

/// Extracts the state of a pod with a status.
pub fn of(observed: &Observed<'_>, status: &WorkspaceStatus) -> PodState {
    let pod = observed.pod;
    let meta = &pod.metadata;
    let mark = |key| meta.annotation(key);
    let has = |key| meta.annotations.contains_key(key);
    let duration = |key| mark(key).and_then(|text| GoDuration::parse(text).ok());
    let bound = !pod.spec.node_name.is_empty();
    let (spec, conditions) = (status.spec.as_ref(), status.conditions.as_ref());
    let yes = WorkspaceConditionBool::True;
    let node = match observed.node {
        NodeView::Present(node) => Some(node),
        NodeView::Gone | NodeView::Unknown => None,
    };
    PodState {
        trace: Trace::read(|name| mark(trace::annotation(name))),
        service_prefix: mark(annotation::SERVICE_PREFIX)
            .filter(|prefix| names::is_name_part(prefix))
            .unwrap_or_default()
            .to_owned(),
        version: meta.version(),
        successor: rejected::successor(meta).unwrap_or_default().into(),
        handed_over: rejected::is_handed_over(meta),
        created: meta.creation_timestamp,
        ports_changed: mark(annotation::PORTS_CHANGED).and_then(|text| text.parse().ok()),
        deleting: meta.deletion_timestamp,
        grace: meta.deletion_grace_period_seconds,
        stopped_at: mark(annotation::STOPPED).and_then(|text| text.parse().ok()),
        stop_grace: mark(annotation::STOPPED_BY_REQUEST).map(stop_grace),
        custom_timeout: duration(annotation::CUSTOM_TIMEOUT),
        custom_closed_timeout: duration(annotation::CUSTOM_CLOSED_TIMEOUT),
        maximum_lifetime: duration(annotation::MAXIMUM_LIFETIME).filter(|d| d.as_nanos() > 0),
        node_lost_at: match observed.node {
            NodeView::Present(node) => earliest(node, pod, lost_at),
            NodeView::Unknown => lost_by_conditions(pod),
            NodeView::Gone => None,
        },
        evicted_at: node.and_then(|node| earliest(node, pod, evicted_at)),
        pod_phase: container::phase(pod),
        filling: report::is_filling(pod),
        saving: report::saving(pod),
        last_backup: mark(annotation::LAST_BACKUP).map(|text| Box::new(LastBackup::read(text))),
        ended_at: container::status(pod).and_then(|c| c.state.terminated.as_ref()?.finished_at),
        disposal: disposal(mark(annotation::DISPOSAL_STATUS)),
        snapshot_class: mark(annotation::SNAPSHOT_CLASS).unwrap_or_default().into(),
        on_volume: meta.label(label::PVC_FEATURE) == Some("true"),
        node_gone: bound && matches!(observed.node, NodeView::Gone),
        bound,
        held: meta.finalizers.iter().any(|f| f == FINALIZER),
        held_by_others: meta.finalizers.iter().any(|f| f != FINALIZER),
        ours: has(annotation::SPEC_SHA256),
        attempting: has(annotation::ATTEMPTING_TO_CREATE),
        initialized: mark(annotation::ALREADY_INITIALIZING) == Some("true"),
        never_ready: !container::was_ready(pod),
        never_ready_mark: has(annotation::NEVER_READY),
        kubelet_ready: container::is_ready(pod),
        container_ended: container::status(pod).is_some_and(|c| c.state.running.is_none()),
        started: container::started(pod),
        secret_missing_since: secret_missing_since(pod),
        rejected: rejected::is_rejected(pod),
        reported: pod.status.start_time,
        failed_before_stopping: mark(annotation::FAILED_BEFORE_STOPPING) == Some("true"),
        explicit_fail: has(annotation::EXPLICIT_FAIL),
        failure_recorded: has(annotation::FAILURE),
        timed_out: has(annotation::TIMED_OUT),
        abort: mark(annotation::ABORT_REQUEST) == Some("true"),
        ever_active: has(annotation::FIRST_USER_ACTIVITY),
        closed: has(annotation::CLOSED),
        unreadable: Box::default(),
        not_workspace: None,
        stuck: has(annotation::STUCK),
        failure: conditions.map_or("", |c| c.failed.as_str()).into(),
        headless: spec.is_some_and(|spec| spec.headless),
        prebuild: spec.is_some_and(|spec| spec.r#type() == WorkspaceType::Prebuild),
        has_snapshot: has(annotation::SNAPSHOT),
        pulling_images: conditions.is_some_and(|c| c.pulling_images() == yes),
        backed_up: conditions.is_some_and(|c| c.final_backup_complete() == yes),
        exposed_ports: spec
            .map(|spec| spec.exposed_ports.clone())
            .unwrap_or_default(),
    }
}

/// The annotated grace; 30 s where it is no duration. Never below one second: a grace of zero would
/// delete the pod without waiting for its node.
fn stop_grace(text: &str) -> Duration {
    let grace = GoDuration::parse(text).map_or(Duration::from_secs(30), GoDuration::to_std);
    grace.max(Duration::from_secs(1))
}

fn disposal(mark: Option<&str>) -> Disposal {
    let value = mark.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    match value.as_ref().map(|v| v["status"].as_str()) {
        Some(Some("finished")) => Disposal::Finished,
        Some(Some("started")) => Disposal::Started,
        Some(Some("retrying")) => Disposal::Retrying,
        _ => Disposal::None,
    }
}

/// Since when the pod is on a node that does not find its Secret, or a key of it. It has the name of the first
/// pod; the Secrets of
/// others are their business, and caches that are behind pass by themselves.
fn secret_missing_since(pod: &Pod) -> Option<Timestamp> {
    let namespace = &pod.metadata.namespace;
    let name = rejected::anchor_name(&pod.metadata);
    let missing = [
        format!("secret \"{name}\" not found"),
        format!("secrets \"{name}\" not found"),
    ];
    let lacks = |message: &str| {
        let key = message.strip_prefix("couldn't find key ");
        let secret = key.and_then(|text| text.split_once(" in Secret "));
        missing.iter().any(|text| message.contains(text))
            || secret.is_some_and(|(_, at)| at == format!("{namespace}/{name}"))
    };
    let status = &pod.status;
    let inits = status.init_container_statuses.iter();
    let waits = |c: &ContainerStatus| {
        let waiting = c.state.waiting.as_ref();
        waiting.is_some_and(|w| w.reason == "CreateContainerConfigError" && lacks(&w.message))
    };
    let missing = status.container_statuses.iter().chain(inits).any(waits);
    let scheduled = pod.condition("PodScheduled");
    let scheduled = scheduled.filter(|c| c.status == "True");
    let since = scheduled.and_then(|c| c.last_transition_time);
    let since = since.or(status.start_time);
    since
        .or(pod.metadata.creation_timestamp)
        .filter(|_| missing)
}

fn earliest(
    node: &Node,
    pod: &Pod,
    at: impl Fn(&Taint, &Pod) -> Option<Timestamp>,
) -> Option<Timestamp> {
    node.spec.taints.iter().filter_map(|t| at(t, pod)).min()
}

/// When a NoExecute taint outlasts the pod's bounded toleration of it. Taints without one are ignored
/// (docs/protocol.md#lifecycle).
fn evicted_at(taint: &Taint, pod: &Pod) -> Option<Timestamp> {
    if taint.effect != "NoExecute" {
        return None;
    }
    let mut bounds = pod.spec.tolerations.iter().filter_map(|t| {
        let matches = t.key == taint.key && matches!(t.effect.as_str(), "NoExecute" | "");
        t.toleration_seconds.filter(|_| matches)
    });
    let bound = SignedDuration::from_secs(bounds.next()?.max(0));
    taint.time_added?.checked_add(bound).ok()
}

/// When the node counts as lost where nodes are not watched: the control plane evicted the pod, and the node did not
/// end it within its grace and a minute more.
fn lost_by_conditions(pod: &Pod) -> Option<Timestamp> {
    let evicted = pod
        .condition("DisruptionTarget")
        .is_some_and(|c| c.status == "True" && c.reason == "DeletionByTaintManager");
    let end = pod.metadata.deletion_timestamp;
    let end = end.filter(|_| evicted || pod.status.reason == "NodeLost")?;
    end.checked_add(SignedDuration::from_mins(1)).ok()
}

/// When a taint says that the node will not end the pod: unreachable for too long, or declared out of service, which
/// somebody only does who knows that nothing runs there any more.
fn lost_at(taint: &Taint, pod: &Pod) -> Option<Timestamp> {
    match taint.key.as_str() {
        "node.kubernetes.io/unreachable" => evicted_at(taint, pod),
        "node.kubernetes.io/out-of-service" if taint.effect == "NoExecute" => {
            let since = taint.time_added.unwrap_or(Timestamp::UNIX_EPOCH);
            evicted_at(taint, pod).or(Some(since))
        }
        _ => None,
    }
}
