//! A story of workspaces: one daemon, one open stream, and control over the clock, the kubelet and the nodes.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use wsman::clock::Clock;
use wsman::proto::wsman::*;

use super::cluster::Cluster;
use super::world::{Updates, World, request};

/// How close before a limit it is checked that nothing happens. The clock also moves by itself, and a busy machine is
/// slow; the table of the pure lifecycle checks the last nanosecond.
const BEFORE: SignedDuration = SignedDuration::from_secs(45);

/// One daemon and its updates.
pub(crate) struct Story<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) world: World,
    pub(crate) updates: Updates,
    advanced: Duration,
    bystanders: u32,
}

impl<'a> Story<'a> {
    /// Starts a daemon and opens a stream.
    pub(crate) async fn begin(cluster: &'a Cluster) -> Self {
        Self::begin_with(cluster, |_| {}).await
    }

    /// Starts a daemon with a changed configuration and opens a stream.
    pub(crate) async fn begin_with(cluster: &'a Cluster, change: impl FnOnce(&mut Value)) -> Self {
        let world = World::start_with(cluster.client().await, &cluster.namespace, change).await;
        let updates = world.subscribe().await;
        Self {
            cluster,
            world,
            updates,
            advanced: Duration::ZERO,
            bystanders: 0,
        }
    }

    /// Kills the daemon, wherever it is, and starts another, whose clock is not behind.
    pub(crate) async fn killed(self) -> Self {
        self.asleep().await.awake().await
    }

    /// Kills the daemon, wherever it is.
    pub(crate) async fn asleep(self) -> Asleep<'a> {
        self.world.kill().await;
        Asleep {
            cluster: self.cluster,
            advanced: self.advanced,
            bystanders: self.bystanders,
        }
    }

    pub(crate) async fn end(self) {
        self.world.drain().await.unwrap();
    }

    // === Workspaces ===

    pub(crate) async fn start(&self, request: StartWorkspaceRequest) {
        let mut client = self.world.client.clone();
        client.start_workspace(request).await.unwrap();
    }

    /// Starts a workspace and waits until it runs.
    pub(crate) async fn run(&mut self, id: &str) -> WorkspaceStatus {
        self.start(request(id)).await;
        self.until(id, WorkspacePhase::Running).await
    }

    /// Starts a workspace whose pod the kubelet treats by the script, from the start.
    pub(crate) async fn start_as(&self, mut request: StartWorkspaceRequest, script: Value) {
        let pod = pod_name(&request);
        // The scheduler holds it until the script is there.
        request.spec.as_mut().unwrap().class = "unschedulable".to_owned();
        self.start(request).await;
        let mut script = script;
        script["unschedulable"] = Value::Null;
        self.script(&pod, script).await;
    }

    pub(crate) async fn stop(&self, id: &str, policy: StopWorkspacePolicy) {
        let request = StopWorkspaceRequest {
            id: id.to_owned(),
            policy: policy.into(),
        };
        let mut client = self.world.client.clone();
        client.stop_workspace(request).await.unwrap();
    }

    /// Marks a workspace active and returns when.
    pub(crate) async fn mark_active(&self, id: &str, closed: bool) -> Timestamp {
        let request = MarkActiveRequest {
            id: id.to_owned(),
            closed,
            ignore_if_active: false,
        };
        let mut client = self.world.client.clone();
        client.mark_active(request).await.unwrap();
        let request = DescribeWorkspaceRequest { id: id.to_owned() };
        let described = client.describe_workspace(request).await.unwrap();
        described.into_inner().last_activity.parse().unwrap()
    }

    pub(crate) async fn until(&mut self, id: &str, phase: WorkspacePhase) -> WorkspaceStatus {
        self.updates.until(id, phase).await
    }

    /// Reads until a status of a workspace matches.
    pub(crate) async fn until_it(
        &mut self,
        id: &str,
        is: impl Fn(&WorkspaceStatus) -> bool,
    ) -> WorkspaceStatus {
        loop {
            let status = self.updates.next().await.expect("the stream goes on");
            if status.id == id && is(&status) {
                return status;
            }
        }
    }

    /// Waits until a workspace is STOPPED and returns its last status.
    pub(crate) async fn ends(&mut self, id: &str) -> WorkspaceConditions {
        let stopped = self.until(id, WorkspacePhase::Stopped).await;
        stopped.conditions.unwrap()
    }

    // === Time ===

    /// Moves the daemon's clock to a moment, unless that is over.
    pub(crate) fn advance_to(&mut self, moment: Timestamp) {
        let by = moment.duration_since(self.world.clock.now());
        let by = Duration::try_from(by).unwrap_or_default();
        self.advanced += by;
        self.world.clock.advance(by);
    }

    /// Checks that a limit ends a workspace with this text, and not before its time.
    pub(crate) async fn times_out(&mut self, id: &str, since: Timestamp, after: i64, why: &str) {
        let due = since + SignedDuration::from_mins(after);
        self.quiet_until(id, due).await;
        self.advance_to(due);
        let conditions = self.ends(id).await;
        assert_eq!(conditions.timeout, why);
        assert_eq!(conditions.failed, "");
    }

    /// Checks that nothing happens to a workspace until just before `due`.
    pub(crate) async fn quiet_until(&mut self, id: &str, due: Timestamp) {
        self.advance_to(due - BEFORE);
        self.quiet(id).await;
    }

    /// Checks that a workspace has no update.
    pub(crate) async fn quiet(&mut self, id: &str) {
        let before = self.updates.seen.len();
        self.pause().await;
        let news: Vec<_> = self.updates.seen[before..]
            .iter()
            .filter(|status| status.id == id)
            .collect();
        assert!(news.is_empty(), "{id} should be left alone: {news:?}");
    }

    /// Reads all pending updates: another workspace starts and stops meanwhile, for which the lifecycle must decide
    /// and write several times.
    pub(crate) async fn pause(&mut self) {
        self.bystanders += 1;
        let bystander = format!("bystander-{}", self.bystanders);
        let mut request = request(&bystander);
        request.spec.as_mut().unwrap().class = "unschedulable".to_owned();
        self.start(request).await;
        self.stop(&bystander, StopWorkspacePolicy::Normally).await;
        self.until(&bystander, WorkspacePhase::Stopped).await;
    }

    // === Kubelet and nodes ===

    /// The pod of a regular workspace as the API server has it.
    pub(crate) async fn pod(&self, id: &str) -> Pod {
        let pods = self.cluster.api::<Pod>().await;
        pods.get(&format!("ws-{id}")).await.unwrap()
    }

    /// See [`Cluster::script`].
    pub(crate) async fn script(&self, pod: &str, script: Value) {
        self.cluster.script(pod, script).await;
    }

    /// See [`Cluster::annotate`].
    pub(crate) async fn annotate(&self, pod: &str, annotations: Value) {
        self.cluster.annotate(pod, annotations).await;
    }

    /// Reports the state of a pod's container as a kubelet does.
    pub(crate) async fn report(&self, id: &str, state: Value, ready: bool) {
        let container = json!({ "name": "workspace", "ready": ready, "state": state });
        let patch = json!({ "status": { "containerStatuses": [container] } });
        let pods = self.cluster.api::<Pod>().await;
        let pod = format!("ws-{id}");
        pods.patch_status(&pod, &PatchParams::default(), &Patch::Strategic(patch))
            .await
            .unwrap();
    }

    /// The container of a running pod ended with its node's container runtime; the kubelet has not replaced it yet.
    pub(crate) async fn interrupt(&mut self, id: &str) -> WorkspaceStatus {
        let ended = json!({
            "running": null,
            "terminated": {
                "exitCode": 255, "reason": "Unknown",
                "startedAt": Timestamp::now().to_string(), "finishedAt": Timestamp::now().to_string(),
            },
        });
        self.report(id, ended, false).await;
        self.until(id, WorkspacePhase::Interrupted).await
    }
}

/// The rest of a story while no daemon runs.
pub(crate) struct Asleep<'a> {
    cluster: &'a Cluster,
    advanced: Duration,
    bystanders: u32,
}

impl<'a> Asleep<'a> {
    /// Starts another daemon, whose clock is not behind, and opens a stream.
    pub(crate) async fn awake(self) -> Story<'a> {
        let clock = Clock::manual();
        clock.advance(self.advanced);
        let cluster = self.cluster;
        let client = cluster.client().await;
        let world = World::start_at(clock, client, &cluster.namespace, |_| {}).await;
        // Before the lifecycle starts, so that the stream has all its updates.
        let updates = world.subscribe().await;
        let waited = world.outlive_the_dead().await;
        Story {
            cluster,
            world,
            updates,
            advanced: self.advanced + waited,
            bystanders: self.bystanders,
        }
    }

    /// Lets time pass, until a moment on the next daemon's clock.
    pub(crate) fn pass(&mut self, until: Timestamp) {
        let by = until.duration_since(Timestamp::now());
        self.advanced = self.advanced.max(by.try_into().unwrap());
    }
}

/// When a workspace was created.
pub(crate) fn created(status: &WorkspaceStatus) -> Timestamp {
    let at = status.metadata.as_ref().unwrap().started_at.unwrap();
    Timestamp::from_second(at.seconds).unwrap()
}

/// When the grace of a pod that is being deleted ends.
pub(crate) fn grace_end(pod: &Pod) -> Timestamp {
    pod.metadata.deletion_timestamp.as_ref().unwrap().0
}

/// The name of the node that a workspace is on.
pub(crate) fn node(status: &WorkspaceStatus) -> String {
    status.runtime.as_ref().unwrap().node_name.clone()
}

pub(crate) fn pod_name(request: &StartWorkspaceRequest) -> String {
    let kind = match request.r#type() {
        WorkspaceType::Regular => "ws",
        WorkspaceType::Prebuild => "prebuild",
        WorkspaceType::Imagebuild => "imagebuild",
    };
    format!("{kind}-{}", request.id)
}

/// A valid request with a changed specification.
pub(crate) fn request_with(
    id: &str,
    change: impl FnOnce(&mut StartWorkspaceSpec),
) -> StartWorkspaceRequest {
    let mut request = request(id);
    change(request.spec.as_mut().unwrap());
    request
}

/// A valid request for a workspace that the test does not read.
pub(crate) fn headless(id: &str, kind: WorkspaceType) -> StartWorkspaceRequest {
    StartWorkspaceRequest {
        r#type: kind.into(),
        ..request(id)
    }
}
