//! The simulated nodes: registers them, renews their leases, and acts as the node controller when one is lost.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Namespace, Node, Taint};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::Status;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::informer::{Change, watch};
use super::{Machine, Options};
use crate::KUBERNETES;
use crate::apiserver::quantity::milli;
use crate::scheduler::{Amounts, Nodes};

/// On a Node: its kubelet has stopped while this is `true`.
pub(crate) const LOST: &str = "sim.wsman.dev/lost";
/// On a Node: uids of the pods that stopped its kubelet, so that each does so once.
pub(crate) const LOST_BY: &str = "sim.wsman.dev/lost-by";
/// On a Node whose containers are processes: the socket on which its kubelet has logs and exec.
pub(crate) const SOCKET: &str = "sim.wsman.dev/kubelet-socket";
/// On a Node: the simulation is its kubelet; the value is the node prefix of the simulation.
pub(crate) const KUBELET: &str = "sim.wsman.dev/kubelet";

const LEASES: &str = "kube-node-lease";
const LEASE_SECONDS: i32 = 40;
const RENEW_EVERY: Duration = Duration::from_secs(10);
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";
const NOT_READY: &str = "node.kubernetes.io/not-ready";

/// A node, as far as pods are concerned.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) taints: Vec<Taint>,
    pub(crate) unschedulable: bool,
    pub(crate) ready: bool,
    /// The simulation is its kubelet.
    pub(crate) ours: bool,
    pub(crate) lost: bool,
    pub(crate) lost_by: String,
    /// Most pods of the node.
    pub(crate) room: usize,
    /// What it has for pods.
    pub(crate) allocatable: Amounts,
    pub(crate) ip: String,
}

/// Runs the nodes until `shutdown`, and publishes the state of all nodes of the cluster.
pub(crate) async fn run(
    client: Client,
    options: &Options,
    socket: Option<&str>,
    publish: watch::Sender<Arc<Nodes>>,
    shutdown: &CancellationToken,
) -> Result<(), Box<Status>> {
    tokio::select! {
        () = shutdown.cancelled() => return Ok(()),
        registered = register(&client, options) => registered?,
    }
    // Server and nodes have the same version.
    let version = match client.apiserver_version().await {
        Ok(version) => version.git_version,
        Err(_) => KUBERNETES.to_owned(),
    };
    let keeper = Keeper {
        client: &client,
        options,
        version: &version,
        socket,
    };
    let changes = watch(Api::<Node>::all(client.clone()));
    tokio::pin!(changes);
    let mut renew = tokio::time::interval(RENEW_EVERY);
    let mut nodes: HashMap<String, Node> = HashMap::new();
    let mut synced = false;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Some(change) = changes.next() => match change {
                Change::Apply(mut node) => {
                    node.metadata.managed_fields = None;
                    let is_new = !nodes.contains_key(&node.name_any());
                    if is_ours(&node, options) {
                        keeper.attend(&node, is_new).await;
                    }
                    nodes.insert(node.name_any(), node);
                }
                Change::Delete(key) => {
                    nodes.remove(&key.name);
                }
                Change::Synced => synced = true,
            },
            _ = renew.tick() => {
                for node in nodes.values().filter(|node| is_ours(node, options)) {
                    keeper.attend(node, true).await;
                }
                continue;
            }
        }
        if synced {
            let members = nodes.values().map(|node| member(node, options));
            let members: Nodes = members.map(|m| (m.name.clone(), m)).collect();
            publish.send_if_modified(|known| {
                let news = **known != members;
                if news {
                    *known = Arc::new(members);
                }
                news
            });
        }
    }
}

/// Creates the missing Node objects. Only a rejection is an error: an API server that is away comes back.
async fn register(client: &Client, options: &Options) -> Result<(), Box<Status>> {
    let api: Api<Node> = Api::all(client.clone());
    let mut pause = Duration::from_millis(100);
    let alike = (0..options.node_count()).map(|index| Machine {
        name: format!("{}-{index}", options.node_prefix),
        ..Machine::default()
    });
    let all: Vec<_> = match options.machines.is_empty() {
        true => alike.collect(),
        false => options.machines.clone(),
    };
    for machine in all {
        let node = new_node(&machine, options);
        loop {
            match api.create(&PostParams::default(), &node).await {
                Ok(_) => break,
                Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => break,
                Err(kube::Error::Api(status)) if (400..429).contains(&status.code) => {
                    return Err(status);
                }
                Err(error) => tracing::warn!(%error, "the API server is not available"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(5));
        }
    }
    Ok(())
}

fn is_ours(node: &Node, options: &Options) -> bool {
    node.labels().get(KUBELET) == Some(&options.node_prefix)
}

fn is_lost(node: &Node) -> bool {
    node.annotations().get(LOST).is_some_and(|v| v == "true")
}

fn member(node: &Node, options: &Options) -> Member {
    let spec = node.spec.as_ref();
    let status = node.status.as_ref();
    let allocatable = status.and_then(|s| s.allocatable.as_ref());
    let room = allocatable.and_then(|all| all.get("pods"));
    let amounts = allocatable.into_iter().flatten();
    let amounts = amounts.filter_map(|(name, q)| Some((name.clone(), milli(&q.0)?)));
    let addresses = status.and_then(|s| s.addresses.as_deref());
    let internal = addresses
        .unwrap_or_default()
        .iter()
        .find(|a| a.type_ == "InternalIP");
    Member {
        name: node.name_any(),
        labels: node.labels().clone(),
        taints: spec.and_then(|s| s.taints.clone()).unwrap_or_default(),
        unschedulable: spec.and_then(|s| s.unschedulable).unwrap_or(false),
        ready: ready(node) == Some("True"),
        ours: is_ours(node, options),
        lost: is_lost(node),
        lost_by: node.annotations().get(LOST_BY).cloned().unwrap_or_default(),
        room: room.and_then(|q| whole(&q.0)).unwrap_or(110),
        allocatable: amounts.collect(),
        ip: internal.map_or_else(|| address(&node.name_any()), |a| a.address.clone()),
    }
}

fn ready(node: &Node) -> Option<&str> {
    let conditions = node.status.as_ref()?.conditions.as_deref()?;
    let ready = conditions.iter().find(|c| c.type_ == "Ready")?;
    Some(&ready.status)
}

fn new_node(machine: &Machine, options: &Options) -> Node {
    let name = &machine.name;
    let mut labels = BTreeMap::from(
        [
            ("kubernetes.io/hostname", name.as_str()),
            ("kubernetes.io/os", "linux"),
            ("kubernetes.io/arch", "amd64"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    labels.extend(options.node_labels.clone());
    labels.extend(machine.labels.clone());
    labels.insert(KUBELET.to_owned(), options.node_prefix.clone());
    let mut node = Node::default();
    node.metadata.name = Some(name.clone());
    node.metadata.labels = Some(labels);
    node
}

/// Looks after our nodes.
struct Keeper<'a> {
    client: &'a Client,
    options: &'a Options,
    version: &'a str,
    socket: Option<&'a str>,
}

impl Keeper<'_> {
    /// Does the next step of a node; a failure or a timeout is retried with the next lease.
    async fn attend(&self, node: &Node, renew: bool) {
        let work = async {
            publish_socket(self.client, node, self.socket).await;
            let name = node.name_any();
            let mut machines = self.options.machines.iter();
            let machine = machines.find(|machine| machine.name == name);
            correct(self.client, node, self.version, machine).await;
            if renew && !is_lost(node) {
                renew_lease(self.client, node).await;
            }
        };
        if tokio::time::timeout(RENEW_EVERY, work).await.is_err() {
            tracing::warn!(node = node.name_any(), "the API server does not answer");
        }
    }
}

/// Says on the node where its kubelet can be asked, or that it cannot any more.
async fn publish_socket(client: &Client, node: &Node, socket: Option<&str>) {
    if node.annotations().get(SOCKET).map(String::as_str) == socket {
        return;
    }
    let api: Api<Node> = Api::all(client.clone());
    let patch = json!({ "metadata": { "annotations": { SOCKET: socket } } });
    let written = api
        .patch_metadata(
            &node.name_any(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await;
    if let Err(error) = written {
        tracing::debug!(%error, node = node.name_any(), "socket of a node");
    }
}

/// Updates the status and the taints of a node.
async fn correct(client: &Client, node: &Node, kubelet: &str, machine: Option<&Machine>) {
    let api: Api<Node> = Api::all(client.clone());
    let (name, lost, now) = (node.name_any(), is_lost(node), Timestamp::now());
    let params = PatchParams::default();
    let stale = ready(node) != Some(if lost { "Unknown" } else { "True" });
    if stale {
        let patch = json!({ "status": status(node, kubelet, machine, lost, now) });
        if let Err(error) = api
            .patch_status(&name, &params, &Patch::Strategic(patch))
            .await
        {
            tracing::debug!(%error, node = name, "status of a node");
        }
    }
    if let Some(taints) = taints(node, lost, now) {
        // The version: another client may be changing the same list.
        let version = &node.metadata.resource_version;
        let version = if stale { &None } else { version };
        let patch =
            json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } });
        if let Err(error) = api.patch(&name, &params, &Patch::Merge(patch)).await {
            tracing::debug!(%error, node = name, "taints of a node");
        }
    }
}

fn status(
    node: &Node,
    version: &str,
    machine: Option<&Machine>,
    lost: bool,
    now: Timestamp,
) -> Value {
    let time = Time(now);
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": message,
            "lastHeartbeatTime": time, "lastTransitionTime": time,
        })
    };
    let quiet = [
        (
            "MemoryPressure",
            "KubeletHasSufficientMemory",
            "kubelet has sufficient memory available",
        ),
        (
            "DiskPressure",
            "KubeletHasNoDiskPressure",
            "kubelet has no disk pressure",
        ),
        (
            "PIDPressure",
            "KubeletHasSufficientPID",
            "kubelet has sufficient PID available",
        ),
    ];
    if lost {
        let gone = |kind: &str| {
            condition(
                kind,
                "Unknown",
                "NodeStatusUnknown",
                "Kubelet stopped posting node status.",
            )
        };
        let mut all: Vec<_> = quiet.iter().map(|(kind, ..)| gone(kind)).collect();
        all.push(gone("Ready"));
        return json!({ "conditions": all });
    }
    let mut all: Vec<_> = quiet
        .iter()
        .map(|(kind, reason, message)| condition(kind, "False", reason, message))
        .collect();
    all.push(condition(
        "Ready",
        "True",
        "KubeletReady",
        "kubelet is posting ready status",
    ));
    let mut status = json!({ "conditions": all });
    // An object that was created by hand may have a size.
    let known = node.status.as_ref();
    if known.is_none_or(|s| s.capacity.as_ref().is_none_or(BTreeMap::is_empty)) {
        let size = match machine {
            None => json!({
                "cpu": "20k", "memory": "40Ti", "ephemeral-storage": "40Ti", "pods": "5000",
            }),
            Some(machine) => {
                let mut size = machine.capacity.clone();
                size.entry("pods".to_owned())
                    .or_insert_with(|| "110".to_owned());
                json!(size)
            }
        };
        status["allocatable"] = size.clone();
        status["capacity"] = size;
    }
    if known.is_none_or(|s| s.addresses.as_ref().is_none_or(Vec::is_empty)) {
        let name = node.name_any();
        status["addresses"] = json!([
            { "type": "InternalIP", "address": address(&name) },
            { "type": "Hostname", "address": name },
        ]);
        status["nodeInfo"] = json!({
            "architecture": "amd64", "operatingSystem": "linux", "osImage": "simulated", "kernelVersion": "6.1.0",
            "containerRuntimeVersion": "containerd://2.0.0", "kubeletVersion": version, "kubeProxyVersion": version,
            "machineID": name, "systemUUID": name, "bootID": name,
        });
    }
    status
}

/// The taints that the node should have, if they differ from those it has.
fn taints(node: &Node, lost: bool, now: Timestamp) -> Option<Vec<Taint>> {
    let has = node
        .spec
        .as_ref()
        .and_then(|s| s.taints.clone())
        .unwrap_or_default();
    let unreachable = |effect: &str, time| Taint {
        key: UNREACHABLE.to_owned(),
        effect: effect.to_owned(),
        time_added: time,
        value: None,
    };
    let mut wanted = has.clone();
    // The API server adds `not-ready` to every new node, and a controller removes it.
    wanted.retain(|taint| taint.key != NOT_READY && (lost || taint.key != UNREACHABLE));
    for effect in ["NoSchedule", "NoExecute"] {
        if lost
            && !wanted
                .iter()
                .any(|t| t.key == UNREACHABLE && t.effect == effect)
        {
            wanted.push(unreachable(effect, Some(Time(now))));
        }
    }
    (wanted != has).then_some(wanted)
}

/// Renews the node's Lease; clusters without Leases are skipped.
async fn renew_lease(client: &Client, node: &Node) {
    let api: Api<Lease> = Api::namespaced(client.clone(), LEASES);
    let name = node.name_any();
    let now = MicroTime(Timestamp::now());
    let renewal = json!({ "spec": { "holderIdentity": name, "renewTime": now } });
    let renewed = api
        .patch(&name, &PatchParams::default(), &Patch::Merge(renewal))
        .await;
    let missing = matches!(&renewed, Err(kube::Error::Api(status)) if status.code == 404);
    if !missing {
        return log(renewed.map(drop));
    }
    log(create(
        &Api::<Namespace>::all(client.clone()),
        json!({ "metadata": { "name": LEASES } }),
    )
    .await);
    let lease = json!({
        "metadata": {
            "name": name,
            "namespace": LEASES,
            "ownerReferences": [{ "apiVersion": "v1", "kind": "Node", "name": name, "uid": node.uid() }],
        },
        "spec": { "holderIdentity": name, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now },
    });
    log(create(&api, lease).await);
}

async fn create<K>(api: &Api<K>, object: Value) -> kube::Result<()>
where
    K: Clone + std::fmt::Debug + DeserializeOwned + Serialize,
{
    let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
    match api.create(&PostParams::default(), &object).await {
        Err(kube::Error::Api(status)) if status.reason == "AlreadyExists" => Ok(()),
        other => other.map(drop),
    }
}

fn log(result: kube::Result<()>) {
    if let Err(error) = result {
        tracing::debug!(%error, "lease of a node");
    }
}

/// An address for a node, derived from its name.
fn address(name: &str) -> String {
    let digest = Sha256::digest(name);
    format!("10.32.{}.{}", digest[0], digest[1].clamp(1, 254))
}

/// A whole number; an API server writes 5000 as `5k`.
fn whole(quantity: &str) -> Option<usize> {
    let milli = milli(quantity)?;
    let whole = (milli % 1000 == 0).then_some(milli / 1000)?;
    usize::try_from(whole).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_quantities_are_read_as_the_api_server_writes_them() {
        for (text, number) in [
            ("110", Some(110)),
            ("5k", Some(5000)),
            ("1.5", None),
            ("", None),
        ] {
            assert_eq!(whole(text), number, "{text}");
        }
    }
}
