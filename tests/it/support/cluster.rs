//! The two clusters that every scenario runs on: the embedded API server and a real one, both with the simulated kubelet.

use std::fmt::Debug;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Client;
use kube::api::{Api, Patch, PatchParams, WatchParams};
use kube::core::{NamespaceResourceScope, WatchEvent};
use kube::runtime::wait::await_condition;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use wsman::cluster::connect::{AGENT, Source, connect};
use wsman::workspaces::node;
use wsman::wsdaemon::Timing;
use wsman_sim::apiserver::store::Store;
use wsman_sim::apiserver::{Options, Server};
use wsman_sim::kubelet::{self, ProcessRuntime, Runtime};

use super::envtest::{self, RealCluster};
use super::world::TIMEOUT;

/// A client of ws-daemons that soon tries again.
pub(crate) const PROMPT: Timing = Timing {
    locate: Duration::from_secs(1),
    pause: Duration::from_millis(100),
    look: Duration::from_secs(1),
};

/// One namespace of one cluster, with its own kubelet.
pub(crate) struct Cluster {
    pub(crate) namespace: String,
    pub(crate) kubeconfig: PathBuf,
    /// The server, if it is the embedded one.
    pub(crate) server: Option<Server>,
    store: Option<Store>,
    real: Option<&'static RealCluster>,
    _kubelet: DropGuard,
    _folder: tempfile::TempDir,
}

/// Starts an embedded API server of its own for a test.
pub(crate) async fn embedded() -> Cluster {
    running(Runtime::Simulated).await
}

/// Starts an embedded API server whose containers are processes.
pub(crate) async fn with_processes(runtime: ProcessRuntime) -> Cluster {
    running(Runtime::Process(runtime)).await
}

async fn running(runtime: Runtime) -> Cluster {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new();
    let server = Server::start(store.clone(), options("127.0.0.1:0".parse().unwrap()))
        .await
        .unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    let _kubelet = spawn_kubelet(&kubeconfig, "default", runtime).await;
    let (server, store) = (Some(server), Some(store));
    Cluster {
        namespace: "default".to_owned(),
        kubeconfig,
        server,
        store,
        real: None,
        _kubelet,
        _folder: folder,
    }
}

/// Returns a namespace of the real API server, or none without one.
pub(crate) async fn real(test: &str) -> Option<Cluster> {
    let Some(server) = envtest::real().await else {
        super::skip(test);
        return None;
    };
    Some(Cluster {
        real: Some(server),
        ..on(server, test).await
    })
}

/// Returns a real API server of this test, which it may break, or none without one.
pub(crate) async fn own_real(test: &str) -> Option<(RealCluster, Cluster)> {
    let Some(server) = RealCluster::start_own().await else {
        super::skip(test);
        return None;
    };
    let cluster = on(&server, test).await;
    Some((server, cluster))
}

async fn on(server: &RealCluster, test: &str) -> Cluster {
    let namespace = envtest::namespace(&server.client(), test).await;
    let kubeconfig = server.kubeconfig_path();
    let _kubelet = spawn_kubelet(&kubeconfig, &namespace, Runtime::Simulated).await;
    let _folder = tempfile::tempdir().unwrap();
    Cluster {
        namespace,
        kubeconfig,
        server: None,
        store: None,
        real: None,
        _kubelet,
        _folder,
    }
}

fn options(listen: SocketAddr) -> Options {
    Options {
        listen,
        token: "a-token-of-the-tests".to_owned(),
        history: 100_000,
        ..Options::default()
    }
}

async fn spawn_kubelet(kubeconfig: &Path, namespace: &str, runtime: Runtime) -> DropGuard {
    let client = connect(Source::Kubeconfig(kubeconfig), "kubelet")
        .await
        .unwrap();
    let options = kubelet::Options {
        namespace: Some(namespace.to_owned()),
        node_prefix: namespace.to_owned(),
        node_labels: node::labels(namespace),
        runtime,
        ..kubelet::Options::default()
    };
    let stop = CancellationToken::new();
    tokio::spawn(kubelet::run(client, options, stop.clone()));
    stop.drop_guard()
}

impl Cluster {
    /// Returns a client of the API server with the daemon's user agent.
    pub(crate) async fn client(&self) -> Client {
        connect(Source::Kubeconfig(&self.kubeconfig), AGENT)
            .await
            .unwrap()
    }

    /// Returns the objects of one kind in the namespace.
    pub(crate) async fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = NamespaceResourceScope>,
        K::DynamicType: Default,
    {
        let client = connect(Source::Kubeconfig(&self.kubeconfig), "test")
            .await
            .unwrap();
        Api::namespaced(client, &self.namespace)
    }

    /// Restarts the embedded API server on its port, with its objects, perhaps without its history.
    pub(crate) async fn restart(&mut self, forgets: bool) {
        let server = self.server.take().unwrap();
        let addr = server.addr();
        server.stop().await;
        let store = self.store.clone().unwrap();
        if forgets {
            store.compact();
        }
        self.server = Some(Server::start(store, options(addr)).await.unwrap());
    }

    /// Compacts the history of the API server: an older watch gets 410.
    pub(crate) async fn forget_history(&self) {
        match (&self.store, self.real) {
            (Some(store), _) => store.compact(),
            (None, Some(real)) => real.compact_history().await,
            (None, None) => panic!("no API server"),
        }
    }

    /// What the daemons on the embedded server wrote since its record began, in order; without the Lease, which is
    /// renewed for as long as they run.
    pub(crate) fn writes(&self) -> Vec<String> {
        let requests = self.server.as_ref().unwrap().faults().requests();
        let ours = requests.into_iter().filter(|request| {
            request.is_write()
                && request.user_agent.starts_with("wsman/")
                && !request.path.contains("/leases")
        });
        ours.map(|request| {
            let (_, object) = request.path.rsplit_once("default/").unwrap();
            format!("{} {object}", request.method)
        })
        .collect()
    }

    /// Sets how the simulated kubelet treats a pod from now on; null removes a setting.
    pub(crate) async fn script(&self, pod: &str, script: Value) {
        let script: serde_json::Map<_, _> = script
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (format!("sim.wsman.dev/{key}"), value.clone()))
            .collect();
        self.annotate(pod, script.into()).await;
    }

    /// Annotates a pod as kubectl does.
    pub(crate) async fn annotate(&self, pod: &str, annotations: Value) {
        let patch = json!({ "metadata": { "annotations": annotations } });
        let pods = self.api::<Pod>().await;
        pods.patch(pod, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    pub(crate) async fn nodes(&self) -> Api<Node> {
        Api::all(self.client().await)
    }

    /// Waits until a pod matches.
    pub(crate) async fn until_pod(&self, name: &str, holds: impl Fn(&Pod) -> bool) -> Pod {
        let condition = |pod: Option<&Pod>| pod.is_some_and(&holds);
        let found = await_condition(self.api::<Pod>().await, name, condition);
        let found = tokio::time::timeout(TIMEOUT, found).await;
        let found = found.unwrap_or_else(|_| panic!("{name} does not change"));
        found.unwrap().unwrap()
    }

    /// Removes the finalizers of a pod.
    pub(crate) async fn release(&self, name: &str) {
        let unheld = json!({ "metadata": { "finalizers": null } });
        let pods = self.api::<Pod>().await;
        pods.patch(name, &PatchParams::default(), &Patch::Merge(unheld))
            .await
            .unwrap();
    }

    /// Waits until an object exists again and returns it.
    pub(crate) async fn appears<K>(&self, name: &str) -> K
    where
        K: kube::Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
        K::DynamicType: Default,
    {
        let api = self.api::<K>().await;
        let appears = async {
            loop {
                let params = WatchParams::default()
                    .fields(&format!("metadata.name={name}"))
                    .timeout(30);
                let events = api.watch(&params, "0").await.unwrap();
                let mut events = std::pin::pin!(events);
                while let Ok(Some(event)) = events.try_next().await {
                    if let WatchEvent::Added(object) = event {
                        return object;
                    }
                }
            }
        };
        tokio::time::timeout(TIMEOUT, appears)
            .await
            .unwrap_or_else(|_| panic!("{name} does not appear"))
    }

    /// Waits until an object is gone.
    pub(crate) async fn gone<K>(&self, name: &str)
    where
        K: kube::Resource<Scope = NamespaceResourceScope>
            + Clone
            + DeserializeOwned
            + Debug
            + Send
            + 'static,
        K::DynamicType: Default,
    {
        let api = self.api::<K>().await;
        let gone = async {
            // A watch may end early, which proves nothing.
            loop {
                let Some(object) = api.get_opt(name).await.unwrap() else {
                    return;
                };
                let params = WatchParams::default()
                    .fields(&format!("metadata.name={name}"))
                    .timeout(30);
                let version = object.meta().resource_version.clone().unwrap();
                let events = api.watch(&params, &version).await.unwrap();
                let mut events = std::pin::pin!(events);
                while let Ok(Some(event)) = events.try_next().await {
                    if matches!(event, WatchEvent::Deleted(_)) {
                        return;
                    }
                }
            }
        };
        if tokio::time::timeout(TIMEOUT, gone).await.is_err() {
            let left = api.get_opt(name).await.unwrap();
            panic!("{name} is still there: {left:?}");
        }
    }
}

/// An API server without a kubelet.
pub(crate) struct Bare {
    pub(crate) name: &'static str,
    pub(crate) client: Client,
    _server: Option<Server>,
}

/// Every available API server; `test` is named if the real one is missing.
pub(crate) async fn clusters(test: &str) -> Vec<Bare> {
    let server = Server::start(Store::new(), options("127.0.0.1:0".parse().unwrap()))
        .await
        .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
    let client = connect(Source::Kubeconfig(&kubeconfig), "test")
        .await
        .unwrap();
    let mut all = vec![Bare {
        name: "embedded",
        client,
        _server: Some(server),
    }];
    match envtest::real().await {
        Some(real) => all.push(Bare {
            name: "real",
            client: real.client(),
            _server: None,
        }),
        None => super::skip(test),
    }
    all
}
