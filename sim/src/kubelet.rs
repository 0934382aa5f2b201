//! Runs the simulated scheduler and kubelets: an HTTP client of any API server that runs its pods.
//!
//! One watch of pods feeds one task, which alone knows the pods; `script` decides the next step of each, one delay
//! queue wakes it, and at most one write per pod is in flight. All state is in the pods: after a kill and a restart,
//! the simulation continues.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::SignedDuration;
use kube::Client;
use kube::core::Status;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::scheduler::Nodes;
use pods::Kubelet;
use recorder::Recorder;

pub(crate) use node::SOCKET;
pub use process::{ProcessRuntime, remove_abandoned};

mod garbage;
pub(crate) mod informer;
pub(crate) mod node;
mod perform;
pub(crate) mod pod;
mod pods;
mod process;
mod recorder;
mod report;

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Options {
    /// The number of registered nodes; further ones with the label `sim.wsman.dev/kubelet: <node_prefix>` are
    /// adopted.
    pub nodes: usize,
    /// The nodes to register instead, each with a name of its own.
    pub machines: Vec<Machine>,
    /// Only the pods of this namespace; all when none.
    pub namespace: Option<String>,
    /// The prefix of node names, before a dash and a number; also a label value.
    pub node_prefix: String,
    /// Labels of the nodes besides the usual ones.
    pub node_labels: BTreeMap<String, String>,
    /// Bind pods to nodes; off if the cluster has its own scheduler.
    pub schedule: bool,
    /// Default delays of pods.
    pub pace: Pace,
    /// Also write Events of type Normal, not only warnings.
    pub normal_events: bool,
    /// Delete the dependants of objects that are gone, of every kind: for API servers without a garbage collector.
    pub collect_garbage: bool,
    /// What a container is.
    pub runtime: Runtime,
}

/// A node that is registered under its own name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Machine {
    /// A DNS subdomain that is also a label value.
    pub name: String,
    /// Labels besides the usual ones.
    pub labels: BTreeMap<String, String>,
    /// Quantities by resource; 110 pods unless it says otherwise. Without cpu, memory or ephemeral-storage pods are not
    /// limited in it.
    pub capacity: BTreeMap<String, String>,
}

/// What a container is.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Runtime {
    /// Nothing but its status: annotations of the pod are its script.
    #[default]
    Simulated,
    /// A process of this machine.
    Process(ProcessRuntime),
}

/// Default durations.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From creation to the binding.
    pub schedule: SignedDuration,
    /// Pulling the images of a pod.
    pub pull: SignedDuration,
    /// The run of an init container.
    pub init: SignedDuration,
    /// Starting the containers after the pull.
    pub start: SignedDuration,
    /// From the start to ready, for containers with a readiness probe.
    pub ready: SignedDuration,
    /// From the deletion to the containers' end.
    pub stop: SignedDuration,
    /// The first backoff after a failed pull or start; it doubles up to five minutes.
    pub back_off: SignedDuration,
}

/// Why the simulation cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server does not permit the registration of a node.
    #[error("cannot register the simulated nodes")]
    Register(#[source] Box<Status>),
    /// Containers would be processes of root.
    #[error("containers would run as processes of root: run as another user, or set allow_root")]
    Root,
    /// Containers cannot have directories.
    #[error("cannot use {} for containers", .0.display())]
    Directory(PathBuf, #[source] std::io::Error),
    /// Another kubelet has the directory.
    #[error("another kubelet runs containers in {}", .0.display())]
    InUse(PathBuf),
}

impl Default for Options {
    fn default() -> Self {
        Options {
            nodes: 2,
            machines: Vec::new(),
            namespace: None,
            node_prefix: "sim".to_owned(),
            node_labels: BTreeMap::new(),
            schedule: true,
            pace: Pace::default(),
            normal_events: true,
            collect_garbage: false,
            runtime: Runtime::Simulated,
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            schedule: SignedDuration::ZERO,
            pull: SignedDuration::from_millis(100),
            init: SignedDuration::from_millis(50),
            start: SignedDuration::from_millis(50),
            ready: SignedDuration::from_millis(100),
            stop: SignedDuration::from_millis(200),
            back_off: SignedDuration::from_secs(1),
        }
    }
}

impl Options {
    /// How many nodes are registered.
    pub(crate) fn node_count(&self) -> usize {
        match self.machines.len() {
            0 => self.nodes,
            count => count,
        }
    }
}

/// Runs until `shutdown`. The next run continues what is unfinished.
///
/// The future is boxed so that this crate compiles it: one without a box is compiled again wherever it is awaited.
pub fn run(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> BoxFuture<'static, Result<(), Error>> {
    Box::pin(simulate(client, options, shutdown))
}

async fn simulate(
    client: Client,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    let opened = match &options.runtime {
        Runtime::Simulated => None,
        Runtime::Process(runtime) => Some(process::open(runtime)?),
    };
    let socket = opened.as_ref().map(process::Opened::address);
    let (recorder, record) = Recorder::new(client.clone(), options.normal_events);
    let (publish, nodes) = watch::channel(Arc::new(Nodes::new()));
    let collect = async {
        match options.collect_garbage {
            true => Box::pin(garbage::run(client.clone(), options.namespace.as_deref())).await,
            false => std::future::pending().await,
        }
    };
    let (workers, beside) = opened
        .map(|opened| {
            let namespace = options.namespace.clone();
            opened.start(client.clone(), recorder.clone(), options.pace, namespace)
        })
        .unzip();
    let beside = async {
        match beside {
            Some(beside) => Box::pin(beside).await,
            None => std::future::pending().await,
        }
    };
    let kubelet = Kubelet::new(client.clone(), options.clone(), recorder, workers);
    tokio::select! {
        result = node::run(client.clone(), &options, socket.as_deref(), publish, &shutdown) => {
            result.map_err(Error::Register)
        }
        () = kubelet.run(nodes, &shutdown) => Ok(()),
        () = async { tokio::join!(record, collect, beside); } => Ok(()),
    }
}
