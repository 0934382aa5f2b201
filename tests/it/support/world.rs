//! A daemon in this process on some cluster, seen through its gRPC port.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use futures::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use wsman::amqp::{Publisher, State, Timing};
use wsman::clock::Clock;
use wsman::config::{self, Settings, Severity};
use wsman::daemon::{self, Parts, ShutdownTimeouts};
use wsman::lease::{self, LeaseState};
use wsman::proto::contentservice::{WorkspaceInitializer, workspace_initializer::Spec};
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;
use wsman::retry::Backoff;
use wsman::rpc::in_flight::InFlight;
use wsman::wsdaemon::Daemons;

use super::cluster::Cluster;

/// Longest that a test waits for anything.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

const SOON: Backoff = Backoff::millis(50, 500);

/// A publisher that comes back soon.
pub(crate) const HASTY: Timing = Timing {
    connect: Duration::from_secs(5),
    lost: SOON,
    refused: SOON,
    flush: Duration::from_secs(5),
    heartbeat: 10,
};

/// A running daemon and a client of it.
pub(crate) struct World {
    pub(crate) clock: Clock,
    pub(crate) client: WorkspaceManagerClient<Channel>,
    pub(crate) addr: std::net::SocketAddr,
    probes_addr: std::net::SocketAddr,
    /// Its identity.
    pub(crate) identity: String,
    settings: watch::Sender<Arc<Settings>>,
    lease_state: watch::Receiver<LeaseState>,
    load: watch::Receiver<InFlight>,
    /// The state of the publisher, if there is a message bus.
    pub(crate) bus: Option<watch::Receiver<State>>,
    stop: CancellationToken,
    daemon: JoinHandle<anyhow::Result<()>>,
}

impl World {
    /// Starts a daemon on a cluster and waits until it is ready.
    pub(crate) async fn start(cluster: &Cluster) -> Self {
        Self::start_with(cluster.client().await, &cluster.namespace, |_| {}).await
    }

    /// Starts a daemon with its own client and a changed configuration.
    pub(crate) async fn start_with(
        client: kube::Client,
        namespace: &str,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Self {
        let world = Self::start_at(Clock::manual(), client, namespace, change).await;
        world.outlive_the_dead().await;
        world
    }

    /// Starts a daemon with a clock of the test. If a killed one holds the Lease, the test must let it expire.
    pub(crate) async fn start_at(
        clock: Clock,
        client: kube::Client,
        namespace: &str,
        change: impl FnOnce(&mut serde_json::Value),
    ) -> Self {
        let world = Self::spawn(clock, client, settings(namespace, change), None).await;
        healthy(world.channel().await).await;
        Self {
            client: WorkspaceManagerClient::new(world.channel().await),
            ..world
        }
    }

    /// Starts a daemon that may never become ready.
    pub(crate) async fn start_unready(client: kube::Client, namespace: &str) -> Self {
        Self::spawn(Clock::manual(), client, settings(namespace, |_| {}), None).await
    }

    /// Waits until `/readyz` succeeds, and returns its body.
    pub(crate) async fn readiness(&self, wanted: impl Fn(&str) -> bool) -> String {
        let begun = std::time::Instant::now();
        loop {
            let answer = self.probe("/readyz").await;
            if wanted(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < TIMEOUT, "{answer}");
            tokio::task::yield_now().await;
        }
    }

    /// Starts a daemon that speaks TLS; the world's own client does not.
    pub(crate) async fn start_secure(cluster: &Cluster, tls: Arc<rustls::ServerConfig>) -> Self {
        Self::spawn(
            Clock::manual(),
            cluster.client().await,
            settings(&cluster.namespace, |_| {}),
            Some(tls),
        )
        .await
    }

    async fn spawn(
        clock: Clock,
        client: kube::Client,
        settings: Settings,
        tls: Option<Arc<rustls::ServerConfig>>,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let probes = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let probes_addr = probes.local_addr().unwrap();
        let stop = CancellationToken::new();
        static STARTS: AtomicU64 = AtomicU64::new(0);
        let identity = format!("world-{}", STARTS.fetch_add(1, Ordering::Relaxed));
        let bus = settings.message_bus.clone();
        let (bus, bus_state) = bus.map(|bus| Publisher::new(bus, HASTY)).unzip();
        let (sender, settings) = watch::channel(Arc::new(settings));
        let (teller, lease_state) = watch::channel(LeaseState::default());
        let (meter, load) = watch::channel(InFlight::default());
        let parts = Parts {
            settings,
            identity: identity.clone(),
            lease_state: teller,
            client,
            listener,
            in_flight: meter,
            bus,
            daemons: Daemons::new(super::cluster::PROMPT),
            tls,
            probes: Some(probes),
            clock: clock.clone(),
            shutdown: ShutdownTimeouts::LOCAL,
        };
        let daemon = tokio::spawn(daemon::run(parts, stop.clone()));
        let lazy = Channel::from_shared(format!("http://{addr}"))
            .unwrap()
            .connect_lazy();
        Self {
            clock,
            client: WorkspaceManagerClient::new(lazy),
            addr,
            probes_addr,
            identity,
            settings: sender,
            lease_state,
            load,
            bus: bus_state,
            stop,
            daemon,
        }
    }

    pub(crate) async fn channel(&self) -> Channel {
        Channel::from_shared(format!("http://{}", self.addr))
            .unwrap()
            .connect()
            .await
            .unwrap()
    }

    /// Returns the response of a path on the probes' port.
    pub(crate) async fn probe(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.probes_addr).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// Returns a service's status from the health service.
    pub(crate) async fn health(&self, service: &str) -> ServingStatus {
        let mut health = HealthClient::new(self.channel().await);
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        health.check(request).await.unwrap().into_inner().status()
    }

    /// Ends the daemon at once, wherever it is.
    pub(crate) async fn kill(self) {
        self.daemon.abort();
        let _ = self.daemon.await;
        DEAD.lock().unwrap().insert(self.identity);
    }

    /// If a killed daemon holds the Lease, advances time by what the others must wait, and returns how much that
    /// was.
    pub(crate) async fn outlive_the_dead(&self) -> Duration {
        let seen = self
            .lease_state_of(|lease_state| *lease_state != LeaseState::Idle)
            .await;
        match seen {
            LeaseState::Follower { holder } if DEAD.lock().unwrap().contains(&holder) => {}
            _ => return Duration::ZERO,
        }
        self.clock.advance(lease::DURATION);
        self.holds().await;
        lease::DURATION
    }

    /// Waits until its lease state matches, and returns it.
    pub(crate) async fn lease_state_of(
        &self,
        wanted: impl FnMut(&LeaseState) -> bool,
    ) -> LeaseState {
        let mut lease_state = self.lease_state.clone();
        let stands = tokio::time::timeout(TIMEOUT, lease_state.wait_for(wanted)).await;
        let Ok(stands) = stands else {
            panic!("{} stands otherwise", self.identity)
        };
        stands.unwrap().clone()
    }

    /// Waits until it leads.
    pub(crate) async fn holds(&self) {
        let holds = |lease_state: &LeaseState| lease_state.holds(self.clock.elapsed());
        self.lease_state_of(holds).await;
    }

    /// Waits until so many streams are open, without a timeout.
    pub(crate) async fn streams(&self, count: usize) {
        let mut load = self.load.clone();
        load.wait_for(|load| load.streams == count).await.unwrap();
    }

    /// Waits until the counts match, and returns them.
    pub(crate) async fn load_of(&self, mut wanted: impl FnMut(&InFlight) -> bool) -> InFlight {
        let mut load = self.load.clone();
        let reached = tokio::time::timeout(TIMEOUT, load.wait_for(&mut wanted)).await;
        let Ok(reached) = reached else {
            panic!("in flight is {:?}", *self.load.borrow())
        };
        *reached.unwrap()
    }

    /// Whether it leads.
    pub(crate) fn holds_now(&self) -> bool {
        self.lease_state.borrow().holds(self.clock.elapsed())
    }

    /// Waits until it knows that another one leads.
    pub(crate) async fn follows(&self, other: &Self) {
        let holder = other.identity.clone();
        let follows = LeaseState::Follower { holder };
        self.lease_state_of(|lease_state| *lease_state == follows)
            .await;
    }

    /// Gives it a new configuration, as a reload does.
    pub(crate) fn reconfigure(&self, change: impl FnOnce(&mut serde_json::Value)) {
        let old = self.settings.borrow().clone();
        let (new, _) = old.renew(settings(&old.manager.namespace, change));
        self.settings.send_replace(Arc::new(new));
    }

    /// Drains the daemon and returns how it ended.
    pub(crate) async fn drain(self) -> anyhow::Result<()> {
        drop(self.client);
        self.stop.cancel();
        self.daemon.await.unwrap()
    }

    pub(crate) async fn start_workspace(&self, id: &str) -> StartWorkspaceResponse {
        self.client
            .clone()
            .start_workspace(request(id))
            .await
            .unwrap()
            .into_inner()
    }

    pub(crate) async fn stop_workspace(&self, id: &str) {
        let request = StopWorkspaceRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        self.client.clone().stop_workspace(request).await.unwrap();
    }

    pub(crate) async fn describe(&self, id: &str) -> Result<WorkspaceStatus, tonic::Status> {
        let request = DescribeWorkspaceRequest { id: id.to_owned() };
        Ok(self
            .client
            .clone()
            .describe_workspace(request)
            .await?
            .into_inner()
            .status
            .unwrap())
    }

    pub(crate) async fn list(&self) -> Vec<WorkspaceStatus> {
        let request = GetWorkspacesRequest::default();
        self.client
            .clone()
            .get_workspaces(request)
            .await
            .unwrap()
            .into_inner()
            .status
    }

    pub(crate) async fn subscribe(&self) -> Updates {
        self.subscribe_to(None).await
    }

    pub(crate) async fn subscribe_to(&self, must_match: Option<MetadataFilter>) -> Updates {
        Updates::open(self.client.clone(), must_match).await
    }
}

/// Identities of daemons that were killed.
static DEAD: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);

/// Waits until the health service returns SERVING.
async fn healthy(channel: Channel) {
    let mut health = HealthClient::new(channel);
    let request = HealthCheckRequest {
        service: "wsman.WorkspaceManager".to_owned(),
    };
    let mut watch = health.watch(request).await.unwrap().into_inner();
    let serving = async { while watch.message().await.unwrap().unwrap().status != 1 {} };
    tokio::time::timeout(TIMEOUT, serving)
        .await
        .expect("the daemon becomes ready");
}

/// A stream of updates that checks the guarantees while it is read.
pub(crate) struct Updates {
    stream: tonic::Streaming<SubscribeResponse>,
    pub(crate) seen: Vec<WorkspaceStatus>,
}

impl Updates {
    pub(crate) async fn open(
        mut client: WorkspaceManagerClient<Channel>,
        must_match: Option<MetadataFilter>,
    ) -> Self {
        let request = SubscribeRequest { must_match };
        let stream = client.subscribe(request).await.unwrap().into_inner();
        Self {
            stream,
            seen: Vec::new(),
        }
    }

    /// Returns the next update; panics if it breaks a guarantee.
    pub(crate) async fn next(&mut self) -> Option<WorkspaceStatus> {
        let next = tokio::time::timeout(TIMEOUT, self.stream.next());
        let update = next
            .await
            .unwrap_or_else(|_| panic!("no update in time after {}", self.received()))?
            .unwrap();
        let status = update.status.expect("an update has a status");
        if let Some(before) = self.seen.iter().rev().find(|seen| seen.id == status.id) {
            assert!(
                status.status_version > before.status_version,
                "versions grow: {before:?} then {status:?}"
            );
            let same = WorkspaceStatus {
                status_version: status.status_version,
                ..before.clone()
            };
            assert_ne!(same, status, "no repeats after {}", self.received());
            assert_ne!(
                before.phase(),
                WorkspacePhase::Stopped,
                "nothing after STOPPED: {status:?}"
            );
        }
        self.seen.push(status.clone());
        Some(status)
    }

    /// Reads until a workspace is in a phase and returns that status.
    pub(crate) async fn until(&mut self, id: &str, phase: WorkspacePhase) -> WorkspaceStatus {
        loop {
            let Some(status) = self.next().await else {
                panic!("the stream ended after {}", self.received())
            };
            if status.id == id && status.phase() == phase {
                return status;
            }
        }
    }

    /// The phases of a workspace so far, each once.
    pub(crate) fn phases(&self, id: &str) -> Vec<&'static str> {
        let mut phases: Vec<_> = self
            .seen
            .iter()
            .filter(|status| status.id == id)
            .map(|status| status.phase().as_str_name())
            .collect();
        phases.dedup();
        phases
    }

    fn received(&self) -> String {
        let received: Vec<_> = self
            .seen
            .iter()
            .map(|s| format!("{} {} v{}", s.id, s.phase().as_str_name(), s.status_version))
            .collect();
        received.join(", ")
    }
}

/// How the simulated kubelet treats the pods of a class of that name.
pub(crate) const MISBEHAVIOUR: [(&str, &[(&str, &str)]); 6] = [
    ("image-pull-error", &[("image-pull-error", "no such image")]),
    ("unschedulable", &[("unschedulable", "no room")]),
    ("never-ready", &[("never-ready", "true")]),
    ("ignore-term", &[("ignore-term", "true")]),
    ("rejected", &[("reject", "OutOfcpu")]),
    (
        "rejected-once",
        &[("reject", "OutOfcpu"), ("reject-times", "1")],
    ),
];

/// The example configuration in a namespace, with a class for each misbehaviour.
pub(crate) fn settings(namespace: &str, change: impl FnOnce(&mut serde_json::Value)) -> Settings {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/example-config.json");
    let text = std::fs::read_to_string(example).unwrap();
    let mut value: serde_json::Value = serde_json::from_str(&text).unwrap();
    value["manager"]["namespace"] = namespace.into();
    let mut files = BTreeMap::new();
    for (how, what) in MISBEHAVIOUR {
        let path = format!("templates/{how}");
        value["manager"]["workspaceClass"][how] = serde_json::json!({ "name": how, "container": {}, "templates": { "defaultPath": path } });
        let script = what.iter();
        let script = script.map(|(key, value)| (format!("sim.wsman.dev/{key}"), *value));
        let metadata = serde_json::json!({ "annotations": script.collect::<BTreeMap<_, _>>() });
        let template =
            serde_json::json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata });
        files.insert(path, Ok(template.to_string()));
    }
    change(&mut value);
    let config = config::parse(&value.to_string()).unwrap();
    let (settings, problems) = config.check(&files, jiff::Timestamp::now());
    let errors = problems.iter().filter(|p| p.severity == Severity::Error);
    assert_eq!(errors.collect::<Vec<_>>(), [] as [&config::Problem; 0]);
    settings
}

/// A request that is valid everywhere.
pub(crate) fn request(id: &str) -> StartWorkspaceRequest {
    StartWorkspaceRequest {
        id: id.to_owned(),
        service_prefix: format!("p-{id}"),
        metadata: Some(WorkspaceMetadata {
            owner: "jane".to_owned(),
            meta_id: format!("m-{id}"),
            annotations: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
            ..Default::default()
        }),
        spec: Some(StartWorkspaceSpec {
            workspace_image: "registry.example.com/workspace:1".to_owned(),
            workspace_location: "/workspace".to_owned(),
            initializer: Some(WorkspaceInitializer {
                spec: Some(Spec::Empty(Default::default())),
            }),
            envvars: vec![EnvironmentVariable {
                name: "GREETING".to_owned(),
                value: "hello".to_owned(),
                secret: None,
            }],
            ports: vec![PortSpec {
                port: 8080,
                ..Default::default()
            }],
            ..Default::default()
        }),
        r#type: WorkspaceType::Regular.into(),
    }
}
