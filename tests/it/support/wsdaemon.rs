//! A scripted ws-daemon: a gRPC server on an address of its own, which answers, refuses, or holds each call as the test says,
//! and its pods in the cluster.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use k8s_openapi::api::core::v1::{Node as KubeNode, Pod};
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};
use wsman::proto::contentservice::GitStatus;
use wsman::proto::wsdaemon::workspace_content_service_server::{
    WorkspaceContentService, WorkspaceContentServiceServer,
};
use wsman::proto::wsdaemon::*;

use super::cluster::Cluster;
use super::world::TIMEOUT;

/// What the daemon does with a call.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// Fails it.
    Fail(Code, &'static str),
    /// Never answers.
    Hold,
    /// Does it, and loses the answer.
    Lose,
}

/// What the daemon keeps across its restarts, and what the test sees and says.
#[derive(Debug)]
pub(crate) struct Disk {
    /// The workspaces that it knows.
    known: Mutex<HashMap<String, InitWorkspaceRequest>>,
    script: Mutex<HashMap<&'static str, VecDeque<Act>>>,
    calls: mpsc::UnboundedSender<Call>,
    git: Mutex<Option<GitStatus>>,
    connections: AtomicUsize,
    /// The certificate of the client of each call, one after another without repeats.
    clients: Mutex<Vec<Vec<u8>>>,
}

/// A call, and what it asks for beside the id.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Call {
    pub(crate) method: &'static str,
    pub(crate) id: String,
    pub(crate) asks: Vec<bool>,
}

/// A daemon that runs, or a place where one may.
pub(crate) struct Node {
    pub(crate) port: u16,
    pub(crate) disk: Arc<Disk>,
    pub(crate) calls: mpsc::UnboundedReceiver<Call>,
    tls: Option<ServerTlsConfig>,
    /// It has a runtime of its own, with which its connections end, too.
    running: Option<Runtime>,
    addresses: u8,
}

impl Node {
    /// Returns one that does not run yet.
    pub(crate) fn new(tls: Option<ServerTlsConfig>) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let (sender, calls) = mpsc::unbounded_channel();
        Self {
            port: free.local_addr().unwrap().port(),
            disk: Arc::new(Disk {
                known: Mutex::default(),
                script: Mutex::default(),
                calls: sender,
                git: Mutex::default(),
                connections: AtomicUsize::default(),
                clients: Mutex::default(),
            }),
            calls,
            tls,
            running: None,
            addresses: 1,
        }
    }

    /// Starts the daemon on an address that no other one had, and returns it.
    fn start(&mut self) -> Ipv4Addr {
        self.addresses += 1;
        let address = Ipv4Addr::new(127, 0, 0, self.addresses);
        let at = SocketAddr::new(address.into(), self.port);
        let listener = std::net::TcpListener::bind(at).unwrap();
        listener.set_nonblocking(true).unwrap();
        let mut server = Server::builder();
        if let Some(tls) = &self.tls {
            server = server.tls_config(tls.clone()).unwrap();
        }
        let disk = Arc::clone(&self.disk);
        let scripted = Scripted(Arc::clone(&self.disk));
        let service =
            WorkspaceContentServiceServer::with_interceptor(scripted, move |call: Request<()>| {
                if let Some([cert, ..]) = call.peer_certs().as_deref().map(Vec::as_slice) {
                    let mut clients = disk.clients.lock().unwrap();
                    clients.push(cert.to_vec());
                    clients.dedup();
                }
                Ok(call)
            });
        let running = runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let disk = Arc::clone(&self.disk);
        running.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let incoming = TcpListenerStream::new(listener).inspect(move |_| {
                disk.connections.fetch_add(1, Ordering::Relaxed);
            });
            let serving = server.add_service(service).serve_with_incoming(incoming);
            serving.await.unwrap();
        });
        self.running = Some(running);
        address
    }

    /// The daemon has other certificates when it starts the next time.
    pub(crate) fn renew(&mut self, tls: ServerTlsConfig) {
        self.tls = Some(tls);
    }

    /// Ends the daemon, with its connections, wherever it is.
    pub(crate) fn kill(&mut self) {
        if let Some(running) = self.running.take() {
            running.shutdown_background();
        }
    }

    /// Starts the daemon and its pods; one that runs ends when the new one is known.
    pub(crate) async fn appear(&mut self, cluster: &Cluster) {
        let old = self.running.take();
        let address = self.start();
        place(cluster, address).await;
        if let Some(old) = old {
            old.shutdown_background();
        }
    }

    /// Has the next calls of a method go as said; those after them go well.
    pub(crate) fn script(&self, method: &'static str, acts: impl IntoIterator<Item = Act>) {
        let mut script = self.disk.script.lock().unwrap();
        script.insert(method, acts.into_iter().collect());
    }

    /// The state of the working copies.
    pub(crate) fn set_git(&self, git: GitStatus) {
        *self.disk.git.lock().unwrap() = Some(git);
    }

    /// What a workspace was filled with; none if the daemon does not know it.
    pub(crate) fn filled(&self, id: &str) -> Option<InitWorkspaceRequest> {
        self.disk.known.lock().unwrap().get(id).cloned()
    }

    /// How many connections were opened to it.
    pub(crate) fn connections(&self) -> usize {
        self.disk.connections.load(Ordering::Relaxed)
    }

    /// The certificates of the clients that called, in their order.
    pub(crate) fn clients(&self) -> Vec<Vec<u8>> {
        self.disk.clients.lock().unwrap().clone()
    }

    /// The daemon loses what it knows.
    pub(crate) fn forget(&self) {
        self.disk.known.lock().unwrap().clear();
    }

    /// Waits for a call of a method.
    pub(crate) async fn called(&mut self, method: &str) -> Call {
        let called = async {
            loop {
                let call = self.calls.recv().await.expect("the daemon is there");
                if call.method == method {
                    return call;
                }
            }
        };
        let called = tokio::time::timeout(TIMEOUT, called).await;
        called.unwrap_or_else(|_| panic!("{method} is not called"))
    }

    /// The methods that were called so far and not seen.
    pub(crate) fn methods(&mut self) -> Vec<&'static str> {
        let mut methods = Vec::new();
        while let Ok(call) = self.calls.try_recv() {
            methods.push(call.method);
        }
        methods
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Debug)]
struct Scripted(Arc<Disk>);

impl Scripted {
    /// Notes a call, and does as the script says: `Ok(true)` where the answer is lost.
    async fn begin(&self, method: &'static str, id: &str, asks: &[bool]) -> Result<bool, Status> {
        let act = {
            let mut script = self.0.script.lock().unwrap();
            script.get_mut(method).and_then(VecDeque::pop_front)
        };
        let call = Call {
            method,
            id: id.to_owned(),
            asks: asks.to_vec(),
        };
        let _ = self.0.calls.send(call);
        match act {
            None => Ok(false),
            Some(Act::Lose) => Ok(true),
            Some(Act::Fail(code, text)) => Err(Status::new(code, text)),
            Some(Act::Hold) => std::future::pending().await,
        }
    }

    fn knows(&self, id: &str) -> Result<(), Status> {
        match self.0.known.lock().unwrap().contains_key(id) {
            true => Ok(()),
            false => Err(Status::not_found("unknown workspace")),
        }
    }
}

/// What was done, unless the answer is lost.
fn end<T>(lost: bool, answer: T) -> Result<Response<T>, Status> {
    match lost {
        true => Err(Status::unavailable("transport is closing")),
        false => Ok(Response::new(answer)),
    }
}

#[tonic::async_trait]
impl WorkspaceContentService for Scripted {
    async fn init_workspace(
        &self,
        request: Request<InitWorkspaceRequest>,
    ) -> Result<Response<InitWorkspaceResponse>, Status> {
        let request = request.into_inner();
        let lost = self.begin("Init", &request.id, &[]).await?;
        let mut known = self.0.known.lock().unwrap();
        if known.contains_key(&request.id) {
            return Err(Status::already_exists("workspace exists already"));
        }
        known.insert(request.id.clone(), request);
        end(lost, InitWorkspaceResponse {})
    }

    async fn wait_for_init(
        &self,
        request: Request<WaitForInitRequest>,
    ) -> Result<Response<WaitForInitResponse>, Status> {
        let id = request.into_inner().id;
        let lost = self.begin("Wait", &id, &[]).await?;
        self.knows(&id)?;
        end(lost, WaitForInitResponse {})
    }

    async fn is_workspace_exists(
        &self,
        request: Request<IsWorkspaceExistsRequest>,
    ) -> Result<Response<IsWorkspaceExistsResponse>, Status> {
        let id = request.into_inner().id;
        let lost = self.begin("Exists", &id, &[]).await?;
        let exists = self.knows(&id).is_ok();
        end(lost, IsWorkspaceExistsResponse { exists })
    }

    async fn take_snapshot(
        &self,
        request: Request<TakeSnapshotRequest>,
    ) -> Result<Response<TakeSnapshotResponse>, Status> {
        let TakeSnapshotRequest {
            id,
            return_immediately,
        } = request.into_inner();
        let lost = self.begin("Snapshot", &id, &[return_immediately]).await?;
        self.knows(&id)?;
        let url = format!("snapshot-of-{id}@bucket");
        end(lost, TakeSnapshotResponse { url })
    }

    async fn dispose_workspace(
        &self,
        request: Request<DisposeWorkspaceRequest>,
    ) -> Result<Response<DisposeWorkspaceResponse>, Status> {
        let request = request.into_inner();
        let asks = [request.backup, request.backup_logs];
        let lost = self.begin("Dispose", &request.id, &asks).await?;
        self.knows(&request.id)?;
        self.0.known.lock().unwrap().remove(&request.id);
        let git_status = self.0.git.lock().unwrap().clone();
        end(lost, DisposeWorkspaceResponse { git_status })
    }

    async fn backup_workspace(
        &self,
        request: Request<BackupWorkspaceRequest>,
    ) -> Result<Response<BackupWorkspaceResponse>, Status> {
        let id = request.into_inner().id;
        let lost = self.begin("Backup", &id, &[]).await?;
        self.knows(&id)?;
        let url = format!("backup-of-{id}@bucket");
        end(lost, BackupWorkspaceResponse { url })
    }
}

/// Puts the pod of a daemon on every node of the cluster, ready and with this address; one that is there moves.
pub(crate) async fn place(cluster: &Cluster, address: Ipv4Addr) {
    let pods = cluster.api::<Pod>().await;
    for (name, node) in places(cluster).await {
        // The simulated kubelet gets no further with it, so the test reports its status.
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": { "app": "gitpod", "component": "ws-daemon" },
                "annotations": { "sim.wsman.dev/failed-mount": "the test is its kubelet" },
            },
            "spec": {
                "nodeName": node,
                "terminationGracePeriodSeconds": 0,
                "containers": [{ "name": "ws-daemon", "image": "ws-daemon" }],
            },
        }))
        .unwrap();
        if pods.get_opt(&name).await.unwrap().is_none() {
            pods.create(&PostParams::default(), &pod).await.unwrap();
        }
        let taken = |pod: &Pod| pod.status.as_ref().is_some_and(|s| s.host_ip.is_some());
        cluster.until_pod(&name, taken).await;
        let ip = address.to_string();
        let ready = json!({ "type": "Ready", "status": "True" });
        let status = json!({ "status": {
            "phase": "Running", "podIP": ip, "podIPs": [{ "ip": ip }], "conditions": [ready],
        } });
        let patch = Patch::Merge(status);
        pods.patch_status(&name, &PatchParams::default(), &patch)
            .await
            .unwrap();
    }
}

/// Removes the pods of the daemons.
pub(crate) async fn remove(cluster: &Cluster) {
    let pods = cluster.api::<Pod>().await;
    for (name, _) in places(cluster).await {
        let now = DeleteParams::default().grace_period(0);
        pods.delete(&name, &now).await.unwrap();
        cluster.gone::<Pod>(&name).await;
    }
}

/// The name of the pod of each node, and the node: the two that the kubelet registers.
async fn places(cluster: &Cluster) -> Vec<(String, String)> {
    let mut placed = Vec::new();
    for at in 0..2 {
        let node = format!("{}-{at}", cluster.namespace);
        let nodes = cluster.nodes().await;
        let there = await_condition(nodes, &node, |node: Option<&KubeNode>| node.is_some());
        let there = tokio::time::timeout(TIMEOUT, there).await;
        there.expect("the kubelet registers its nodes").unwrap();
        placed.push((format!("ws-daemon-{at}"), node));
    }
    placed
}

/// The configuration of Gitpod nodes with a daemon.
pub(crate) fn configure(config: &mut Value, port: u16, tls: Option<&Path>) {
    let manager = &mut config["manager"];
    manager["registryFacadeHost"] = "registry.example.com".into();
    manager["workspaceHostPath"] = "/var/gitpod/workspaces".into();
    manager["wsdaemon"] = json!({ "port": port });
    if let Some(folder) = tls {
        let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
        manager["wsdaemon"]["tls"] =
            json!({ "ca": path("ca.crt"), "crt": path("tls.crt"), "key": path("tls.key") });
    }
}

/// Writes the files of a client, all signed by a new authority, and returns what its server needs.
pub(crate) fn certify(folder: &Path) -> ServerTlsConfig {
    let authority = Authority::new();
    authority.certify_client(folder);
    authority.server()
}

/// Signs the certificates of a server and its clients.
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    /// Writes the files of a client with a new certificate, and returns that.
    pub(crate) fn certify_client(&self, folder: &Path) -> Vec<u8> {
        let (cert, key) = self.sign("wsman");
        std::fs::write(folder.join("ca.crt"), self.0.pem()).unwrap();
        std::fs::write(folder.join("tls.crt"), cert.pem()).unwrap();
        std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
        cert.der().to_vec()
    }

    /// What a server needs that knows clients by their certificates.
    pub(crate) fn server(&self) -> ServerTlsConfig {
        let (cert, key) = self.sign("wsdaemon");
        ServerTlsConfig::new()
            .identity(Identity::from_pem(cert.pem(), key.serialize_pem()))
            .client_ca_root(Certificate::from_pem(self.0.pem()))
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.0).unwrap(), key)
    }
}
