//! `wsman simulate`: simulated nodes, scheduler and kubelet for an API server; or, with `--serve`, an embedded cluster
//! in its own process, which outlives the daemons that use it.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::task::Poll;

use anyhow::Context;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use wsman_sim::apiserver::store::Store;
use wsman_sim::apiserver::{self, Server};
use wsman_sim::kubelet::{self, Machine, Options, ProcessRuntime, Runtime};
use wsman_sim::snapshots;

use super::exit::Failure;
use super::input;
use crate::cluster::connect::{Source, connect};
use crate::config::{self, Processes, SimulatedNode};
use crate::workspaces::node;
use crate::{tasks, telemetry};

/// Changes that the embedded API server keeps; an older watch gets 410.
const HISTORY: usize = 100_000;

/// Options of `wsman simulate`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// The API server; as kubectl finds it (KUBECONFIG, ~/.kube/config) when not given.
    #[arg(long, value_name = "FILE", conflicts_with = "serve")]
    kubeconfig: Option<PathBuf>,
    /// Serve an embedded API server here, with the nodes on it.
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = "127.0.0.1:0")]
    serve: Option<SocketAddr>,
    /// Where to write the kubeconfig of the embedded API server [default: a folder of its own, removed at the end].
    #[arg(long, value_name = "FILE", requires = "serve")]
    kubeconfig_out: Option<PathBuf>,
    /// How many nodes there are.
    #[arg(long, value_name = "N", default_value_t = 2)]
    nodes: usize,
    /// The nodes by name, with labels and capacity, as the configuration has them in `kubernetes.nodes`.
    #[arg(long, value_name = "FILE", conflicts_with = "nodes")]
    nodes_file: Option<PathBuf>,
    /// Only the pods of this namespace.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Leave the binding of pods to the cluster's own scheduler.
    #[arg(long)]
    no_scheduler: bool,
    /// Delete what belongs to objects that are gone, of every kind: for API servers without a garbage collector.
    #[arg(long)]
    collect_garbage: bool,
}

/// Runs until it is interrupted.
///
/// # Errors
/// If the API server cannot be used, or the simulation ends.
pub async fn run(args: Args) -> Result<(), Failure> {
    if let Some(kubeconfig) = &args.kubeconfig {
        input::check(kubeconfig, input::SMALL)?;
    }
    let nodes = match &args.nodes_file {
        Some(path) => read_nodes(path)?,
        None => Vec::new(),
    };
    telemetry::init(false, None);
    Ok(Box::pin(simulate(args, nodes)).await?)
}

fn read_nodes(path: &Path) -> Result<Vec<SimulatedNode>, Failure> {
    let text = input::text(path, input::SMALL)?;
    config::nodes(&text).map_err(|problems| {
        let lines = problems.iter().map(ToString::to_string).collect();
        Failure::usage(format!("{} is not valid", input::name(path))).details(lines)
    })
}

async fn simulate(args: Args, nodes: Vec<SimulatedNode>) -> anyhow::Result<()> {
    let options = Options {
        nodes: args.nodes,
        machines: machines(&nodes),
        schedule: !args.no_scheduler,
        collect_garbage: args.collect_garbage,
        ..nodes_of(args.namespace.clone())
    };
    if let Some(listen) = args.serve {
        let mut embedded = Embedded::serve(listen, args.kubeconfig_out.as_deref(), options).await?;
        let path = embedded.kubeconfig().display();
        // A closed pipe does not stop the server.
        let _ = writeln!(
            std::io::stdout(),
            "embedded cluster, nothing is real: kubectl --kubeconfig {path} get nodes"
        );
        tokio::select! {
            signal = interrupted() => signal?,
            error = embedded.failed() => return Err(error),
        }
        embedded.stop().await;
        return Ok(());
    }
    let source = args
        .kubeconfig
        .as_deref()
        .map_or(Source::DefaultKubeconfig, Source::Kubeconfig);
    let client = connect(source, AGENT).await?;
    let shutdown = CancellationToken::new();
    let simulation = kubelet::run(client, options, shutdown.clone());
    tokio::pin!(simulation);
    tokio::select! {
        ended = &mut simulation => return Ok(ended?),
        signal = interrupted() => signal?,
    }
    shutdown.cancel();
    Ok(simulation.await?)
}

/// Nodes for workspaces of both kinds, for the pods of one namespace or of all.
fn nodes_of(namespace: Option<String>) -> Options {
    Options {
        node_labels: node::labels(namespace.as_deref().unwrap_or("default")),
        namespace,
        ..Options::default()
    }
}

fn machines(nodes: &[SimulatedNode]) -> Vec<Machine> {
    let machine = |node: &SimulatedNode| Machine {
        name: node.name.clone(),
        labels: node.labels.clone(),
        capacity: node.capacity.clone(),
    };
    nodes.iter().map(machine).collect()
}

/// Directories of containers that nobody named.
const PODS: &str = "wsman-pods-";

/// Ends what daemons left behind that were killed: nothing else knows their directories.
fn remove_abandoned() {
    let entries = std::fs::read_dir(std::env::temp_dir());
    let names = entries.into_iter().flatten().flatten();
    for entry in names.filter(|entry| entry.file_name().to_string_lossy().starts_with(PODS)) {
        kubelet::remove_abandoned(&entry.path());
    }
}

/// The default of `guest.command`.
const GUEST: &str = "/wsman-guest";

/// Images have the guest at their root; processes run the one beside this program.
fn programs() -> BTreeMap<String, PathBuf> {
    let here = std::env::current_exe().ok();
    let guest = here.map(|path| path.with_file_name("wsman-guest"));
    let found = guest.filter(|path| path.is_file());
    found
        .map(|path| (GUEST.to_owned(), path))
        .into_iter()
        .collect()
}

/// The user agent of the nodes.
const AGENT: &str = concat!("wsman-simulate/", env!("CARGO_PKG_VERSION"));

/// An API server in this process, with simulated nodes.
#[allow(missing_debug_implementations, reason = "it holds credentials")]
pub struct Embedded {
    server: Server,
    kubeconfig: PathBuf,
    kubelet: AbortOnDropHandle<Result<(), kubelet::Error>>,
    snapshots: AbortOnDropHandle<()>,
    shutdown: CancellationToken,
    /// Removed with its kubeconfig.
    _folder: Option<TempDir>,
    /// Removed with the containers in it.
    _pods: Option<TempDir>,
}

impl Embedded {
    /// Starts the cluster on a loopback address and creates a namespace.
    ///
    /// # Errors
    /// If it cannot listen, or cannot write the kubeconfig.
    pub async fn start(
        listen: &str,
        namespace: &str,
        processes: Option<&Processes>,
        nodes: &[SimulatedNode],
    ) -> anyhow::Result<Self> {
        let listen = listen
            .parse()
            .with_context(|| format!("{listen:?} is no address to listen on"))?;
        let mut options = nodes_of(Some(namespace.to_owned()));
        options.machines = machines(nodes);
        let mut folder = None;
        if let Some(processes) = processes {
            let directory = match &processes.directory {
                Some(directory) => directory.into(),
                None => {
                    remove_abandoned();
                    let made = tempfile::Builder::new().prefix(PODS).tempdir()?;
                    folder.insert(made).path().to_owned()
                }
            };
            options.nodes = 1;
            options.runtime = Runtime::Process(ProcessRuntime {
                directory,
                allow_root: processes.allow_root,
                programs: programs(),
            });
        }
        let mut embedded = Self::serve(listen, None, options).await?;
        embedded._pods = folder;
        Ok(embedded)
    }

    async fn serve(
        listen: SocketAddr,
        out: Option<&Path>,
        options: Options,
    ) -> anyhow::Result<Self> {
        anyhow::ensure!(
            listen.ip().is_loopback(),
            "the embedded API server listens on loopback only, not on {listen}"
        );
        let server = Server::start(
            Store::new(),
            apiserver::Options {
                listen,
                token: token()?,
                history: HISTORY,
                controllers: true,
            },
        )
        .await
        .with_context(|| format!("the embedded API server cannot listen on {listen}"))?;
        let folder = match out {
            Some(_) => None,
            None => Some(tempfile::Builder::new().prefix("wsman-").tempdir()?),
        };
        let kubeconfig = match (out, &folder) {
            (None, Some(folder)) => folder.path().join("kubeconfig"),
            (out, _) => out.unwrap_or(Path::new("kubeconfig")).to_owned(),
        };
        write_secret(&kubeconfig, &server.kubeconfig())
            .with_context(|| format!("cannot write {}", kubeconfig.display()))?;
        let client = connect(Source::Kubeconfig(&kubeconfig), AGENT).await?;
        if let Some(namespace) = options
            .namespace
            .as_deref()
            .filter(|namespace| *namespace != "default")
        {
            make_namespace(client.clone(), namespace).await?;
        }
        let shutdown = CancellationToken::new();
        let snapshots = snapshots::run(client.clone(), options.namespace.clone());
        let snapshots = tasks::scoped(snapshots);
        let mut kubelet = kubelet::run(client, options, shutdown.clone());
        // It opens its directory at once: nobody waits for a kubelet that cannot.
        if let Poll::Ready(ended) = futures::poll!(&mut kubelet) {
            return Err(kubelet_ended(ended));
        }
        let kubelet = tasks::scoped(kubelet);
        Ok(Self {
            server,
            kubeconfig,
            kubelet,
            snapshots,
            shutdown,
            _folder: folder,
            _pods: None,
        })
    }

    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Waits until the kubelet ends by itself, which it should not.
    pub async fn failed(&mut self) -> anyhow::Error {
        match (&mut self.kubelet).await {
            Ok(ended) => kubelet_ended(ended),
            Err(error) => anyhow::Error::new(error).context("the kubelet ended"),
        }
    }

    /// Stops the nodes, then the API server; all objects are gone.
    pub async fn stop(self) {
        self.shutdown.cancel();
        let _ = self.kubelet.await;
        self.snapshots.abort();
        self.server.stop().await;
        // A kubeconfig of a cluster that is gone would mislead.
        let _ = std::fs::remove_file(&self.kubeconfig);
    }
}

fn kubelet_ended(ended: Result<(), kubelet::Error>) -> anyhow::Error {
    match ended {
        Ok(()) => anyhow::anyhow!("the kubelet of the embedded cluster ended"),
        Err(kubelet::Error::Root) => anyhow::anyhow!(
            "containers would run as processes of root: run as another user, or set kubernetes.allowRoot"
        ),
        Err(error) => anyhow::Error::new(error).context("the embedded cluster has no kubelet"),
    }
}

async fn make_namespace(client: Client, name: &str) -> anyhow::Result<()> {
    let mut namespace = Namespace::default();
    namespace.metadata.name = Some(name.to_owned());
    let namespaces = kube::Api::<Namespace>::all(client);
    namespaces
        .create(&kube::api::PostParams::default(), &namespace)
        .await
        .context("cannot make the namespace")?;
    Ok(())
}

fn token() -> anyhow::Result<String> {
    let mut random = [0_u8; 24];
    getrandom::fill(&mut random).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a file that only its owner may read.
fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text.as_bytes())
}

async fn interrupted() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}
