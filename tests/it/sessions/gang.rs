//! A daemon that serves sessions, and the machines of its pools.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};
use wsman::proto::wsman::sessions::v1::sessions_client::SessionsClient;
use wsman::proto::wsman::sessions::v1::*;

use crate::support::cluster::Cluster;
use crate::support::world::{TIMEOUT, World};

/// A daemon and a client of its sessions.
pub(crate) struct Gang {
    pub(crate) world: World,
    pub(crate) client: SessionsClient<Channel>,
}

/// What a test sees of updates.
pub(crate) struct Seen {
    stream: tonic::Streaming<SubscribeResponse>,
    pub(crate) updates: Vec<Session>,
}

impl Gang {
    /// Starts a daemon with sessions.
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        Self::start_with(cluster, json!({})).await
    }

    /// Starts a daemon with a configuration of sessions.
    pub(crate) async fn start_with(cluster: &Cluster, sessions: Value) -> Self {
        let client = cluster.client().await;
        let world = World::start_with(client, &cluster.namespace, |config| {
            config["sessions"] = sessions;
        });
        let world = world.await;
        let client = SessionsClient::new(world.channel().await);
        Self { world, client }
    }

    /// Starts a session.
    pub(crate) async fn begin(&self, request: StartSessionRequest) -> Result<Session, Status> {
        let started = self.client.clone().start_session(request).await?;
        Ok(started.into_inner().session.unwrap())
    }

    /// Returns a session.
    pub(crate) async fn get(&self, id: &str) -> Result<Session, Status> {
        let request = GetSessionRequest { id: id.to_owned() };
        let found = self.client.clone().get_session(request).await?;
        Ok(found.into_inner().session.unwrap())
    }

    /// Asks for a session to be stopped.
    pub(crate) async fn stop(&self, id: &str) -> Result<Session, Status> {
        let request = StopSessionRequest {
            id: id.to_owned(),
            reason: "enough".to_owned(),
        };
        let stopped = self.client.clone().stop_session(request).await?;
        Ok(stopped.into_inner().session.unwrap())
    }

    /// Returns a pool.
    pub(crate) async fn pool(&self, name: &str) -> Option<Pool> {
        let pools = self.client.clone().list_pools(ListPoolsRequest {}).await;
        let pools = pools.unwrap().into_inner().pools;
        pools.into_iter().find(|pool| pool.name == name)
    }

    /// Subscribes, with everything that is there.
    pub(crate) async fn watch(&self) -> Seen {
        let mut request = tonic::Request::new(SubscribeRequest::default());
        let metadata = request.metadata_mut();
        metadata.insert("wsman-snapshot", "true".parse().unwrap());
        let stream = self.client.clone().subscribe(request).await.unwrap();
        Seen {
            stream: stream.into_inner(),
            updates: Vec::new(),
        }
    }

    /// Waits until a session matches, and returns it.
    pub(crate) async fn until(&self, id: &str, holds: impl Fn(&Session) -> bool) -> Session {
        self.watch().await.until(id, holds).await
    }

    /// Waits for a phase.
    pub(crate) async fn until_phase(&self, id: &str, phase: Phase) -> Session {
        self.until(id, |session| self::phase(session) == phase)
            .await
    }
}

impl Seen {
    /// Reads on until a session matches, and returns it.
    pub(crate) async fn until(&mut self, id: &str, holds: impl Fn(&Session) -> bool) -> Session {
        let known = self.updates.iter().rev().find(|session| session.id == id);
        if let Some(known) = known.filter(|session| holds(session)) {
            return known.clone();
        }
        let reading = async {
            loop {
                let update = self.stream.message().await.unwrap().expect("an update");
                let Some(session) = update.session else {
                    continue;
                };
                self.updates.push(session.clone());
                if session.id == id && holds(&session) {
                    return session;
                }
            }
        };
        match tokio::time::timeout(TIMEOUT, reading).await {
            Ok(session) => session,
            Err(_) => panic!(
                "{id} is {:#?}",
                self.updates.iter().rev().find(|s| s.id == id)
            ),
        }
    }

    /// Reads on until a session is in a phase.
    pub(crate) async fn until_phase(&mut self, id: &str, wanted: Phase) -> Session {
        self.until(id, |session| phase(session) == wanted).await
    }

    /// Returns the phases of a session so far, each once.
    pub(crate) fn phases(&self, id: &str) -> Vec<Phase> {
        let of = self.updates.iter().filter(|session| session.id == id);
        let mut phases: Vec<_> = of.map(phase).collect();
        phases.dedup();
        phases
    }
}

pub(crate) fn status(session: &Session) -> &SessionStatus {
    session.status.as_ref().unwrap()
}

pub(crate) fn phase(session: &Session) -> Phase {
    status(session).phase()
}

/// Returns the name of a pool of a test: nodes are shared by all tests of a real API server.
pub(crate) fn pool(cluster: &Cluster, name: &str) -> String {
    format!("{}-{name}", cluster.namespace)
}

/// Returns a request for a session of components, by name, role and pool.
pub(crate) fn request(
    cluster: &Cluster,
    id: &str,
    components: &[(&str, &str, &str)],
) -> StartSessionRequest {
    let components = components.iter().map(|(name, role, of)| Component {
        name: (*name).to_owned(),
        role: (*role).to_owned(),
        image: "example.com/bench:1".to_owned(),
        pool: pool(cluster, of),
        ..Component::default()
    });
    StartSessionRequest {
        id: id.to_owned(),
        spec: Some(SessionSpec {
            components: components.collect(),
            ..SessionSpec::default()
        }),
        ..StartSessionRequest::default()
    }
}

/// Scripts a component of a request.
pub(crate) fn script(
    mut request: StartSessionRequest,
    component: &str,
    script: &[(&str, &str)],
) -> StartSessionRequest {
    let spec = request.spec.as_mut().unwrap();
    let mut components = spec.components.iter_mut();
    let component = components.find(|c| c.name == component).unwrap();
    for (key, value) in script {
        let key = format!("sim.wsman.dev/{key}");
        component.annotations.insert(key, (*value).to_owned());
    }
    request
}

/// Registers machines of a pool, which the simulation of the cluster runs.
pub(crate) async fn machines(cluster: &Cluster, of: &str, count: usize) -> Vec<String> {
    let nodes = cluster.nodes().await;
    let mut names = Vec::new();
    for n in 0..count {
        let name = format!("{}-{n}", pool(cluster, of));
        machine(cluster, &nodes, &name, of).await;
        names.push(name);
    }
    names
}

/// Registers a machine of a pool.
pub(crate) async fn machine(cluster: &Cluster, nodes: &Api<Node>, name: &str, of: &str) {
    let node = json!({
        "metadata": {
            "name": name,
            "labels": {
                "pool": pool(cluster, of),
                "kubernetes.io/hostname": name,
                "sim.wsman.dev/kubelet": cluster.namespace,
            },
        },
    });
    let node: Node = serde_json::from_value(node).unwrap();
    nodes.create(&PostParams::default(), &node).await.unwrap();
    ready(nodes, name, true).await;
}

/// Sets whether a machine is ready.
pub(crate) async fn ready(nodes: &Api<Node>, name: &str, ready: bool) {
    let now = jiff::Timestamp::now().to_string();
    let value = match ready {
        true => "True",
        false => "False",
    };
    let status = json!({ "status": {
        "conditions": [{"type": "Ready", "status": value, "reason": "Test", "lastTransitionTime": now, "lastHeartbeatTime": now}],
        "allocatable": {"pods": "110"}, "capacity": {"pods": "110"},
    } });
    let patch = Patch::Merge(status);
    let params = PatchParams::default();
    nodes.patch_status(name, &params, &patch).await.unwrap();
}

/// Returns the pods of a session by name.
pub(crate) async fn pods(cluster: &Cluster, id: &str) -> Vec<Pod> {
    let params = ListParams::default().labels(&format!("wsman.dev/group={id}"));
    let pods = cluster.api::<Pod>().await.list(&params).await.unwrap();
    pods.items
}

/// Whether a pod has no gate.
pub(crate) fn is_ungated(pod: &Pod) -> bool {
    let gates = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.scheduling_gates.as_ref());
    gates.is_none_or(Vec::is_empty)
}

/// Waits until a condition holds.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let waited = tokio::time::timeout(TIMEOUT, waiting).await;
    waited.unwrap_or_else(|_| panic!("{what} does not come"));
}

/// The code of a refusal.
pub(crate) fn code<T>(answer: &Result<T, Status>) -> Code {
    answer.as_ref().err().map_or(Code::Ok, Status::code)
}

/// When a session was enqueued, admitted, running and finished.
pub(crate) fn moments(session: &Session) -> [Option<(i64, i32)>; 4] {
    let times = status(session).times.unwrap();
    let times = [
        times.enqueued,
        times.admitted,
        times.running,
        times.finished,
    ];
    times.map(|time| time.map(|time| (time.seconds, time.nanos)))
}

/// Pods of sessions that hold a node, by node.
async fn on_nodes(cluster: &Cluster) -> HashMap<String, Vec<String>> {
    let params = ListParams::default().labels("wsman.dev/kind=session");
    let pods = cluster.api::<Pod>().await.list(&params).await.unwrap();
    let mut by_node: HashMap<String, Vec<String>> = HashMap::new();
    for pod in pods {
        let phase = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref());
        if matches!(phase, Some("Succeeded" | "Failed")) {
            continue;
        }
        if let Some(node) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
            by_node
                .entry(node)
                .or_default()
                .push(pod.metadata.name.unwrap());
        }
    }
    by_node
}

/// Looks again and again whether a machine holds two members, and fails the test if one does.
pub(crate) async fn no_machine_holds_two(cluster: &Cluster) {
    loop {
        for (node, members) in on_nodes(cluster).await {
            assert_eq!(members.len(), 1, "{node} has {members:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
