//! `wsman run`: reads the configuration, connects, binds, prints its addresses, and runs the daemon until a signal.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use kube::Client;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::config;
use super::exit::{Exit, Failure};
use super::reload;
use super::simulate::Embedded;
use crate::amqp::{Publisher, Timing};
use crate::clock::Clock;
use crate::cluster::connect::{AGENT, Source, connect};
use crate::cluster::process;
use crate::config::{ClientAuth, Kubernetes, Settings};
use crate::daemon::{self, Parts, ShutdownTimeouts};
use crate::server::listen;
use crate::wsdaemon::{self, Daemons};
use crate::{tasks, telemetry};

/// Options of `wsman run`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file; "-" for stdin, which is read once.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Use the cluster of this kubeconfig, whatever the configuration says.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Log decisions, too.
    #[arg(short, long)]
    verbose: bool,
    /// Log as JSON; the default is JSON unless stderr is a terminal.
    #[arg(short = 'j', long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    json_log: Option<bool>,
}

/// Runs the daemon.
///
/// # Errors
/// If the configuration is wrong, something cannot be bound or read, or a task of the daemon ends.
pub async fn run(args: Args) -> Result<(), Failure> {
    telemetry::init(args.verbose, args.json_log);
    let content = config::Content::read(&args.config);
    let (settings, warnings) = content.settings_and_warnings()?;
    for warning in warnings {
        warn!("{}: {warning}", config::name(&args.config));
    }
    Ok(serve(&args, content, settings).await?)
}

async fn serve(args: &Args, content: config::Content, settings: Settings) -> anyhow::Result<()> {
    let stop = stop_on_signals()?;
    let hangup = signal(SignalKind::hangup())?;
    // Binds before it starts anything, so that a port in use is the first error.
    let listener = bind(&settings.rpc.addr, "rpcServer.addr").await?;
    let probes = match &settings.health_addr {
        Some(addr) => Some(bind(addr, "health.addr").await?),
        None => None,
    };
    let tls = match &settings.rpc.tls {
        Some(files) => Some(listen::tls(files, settings.rpc.client_auth)?),
        None => {
            info!("rpcServer.tls is not set: callers connect in the clear");
            None
        }
    };
    if is_exposed(listener.local_addr()?.ip(), settings.rpc.client_auth) {
        warn!(
            addr = %listener.local_addr()?,
            "owner tokens are served beyond loopback to callers without identity: \
             set rpcServer.tls.ca, so that they need a client certificate"
        );
    }
    let (client, mut embedded) = cluster(args, &settings).await?;
    let shutdown = match &embedded {
        Some(_) => ShutdownTimeouts::LOCAL,
        None => ShutdownTimeouts::CLUSTER,
    };
    announce(&listener.local_addr()?, embedded.as_ref(), &settings);
    let bus = settings.message_bus.clone();
    let bus = bus.map(|bus| Publisher::new(bus, Timing::default()).0);
    let (renewed, settings) = watch::channel(Arc::new(settings));
    let reload = tasks::scoped(reload::watch(args.config.clone(), hangup, content, renewed));
    let parts = Parts {
        settings,
        identity: process::identity()?.to_string(),
        lease_state: watch::Sender::default(),
        client,
        listener,
        in_flight: watch::Sender::default(),
        bus,
        daemons: Daemons::new(wsdaemon::Timing::CLASSIC),
        tls,
        probes,
        clock: Clock::system(),
        shutdown,
    };
    let ended = tokio::select! {
        ended = daemon::run(parts, stop) => ended,
        ended = reload => ended?.context("cannot follow the configuration"),
        error = failed(embedded.as_mut()) => return Err(error),
    };
    if let Some(embedded) = embedded {
        embedded.stop().await;
    }
    ended
}

/// Waits until the embedded cluster fails, if there is one.
async fn failed(embedded: Option<&mut Embedded>) -> anyhow::Error {
    match embedded {
        Some(embedded) => embedded.failed().await,
        None => std::future::pending().await,
    }
}

/// Whether clients of other hosts get owner tokens without authentication.
fn is_exposed(listens: IpAddr, clients: ClientAuth) -> bool {
    !listens.to_canonical().is_loopback() && clients != ClientAuth::Require
}

/// Connects to the configured cluster. The embedded one never replaces another that fails.
async fn cluster(args: &Args, settings: &Settings) -> anyhow::Result<(Client, Option<Embedded>)> {
    let source = match (&args.kubeconfig, &settings.kubernetes) {
        (Some(path), _) => Source::Kubeconfig(path),
        (None, Kubernetes::Kubeconfig { path: Some(path) }) => Source::Kubeconfig(Path::new(path)),
        (None, Kubernetes::Kubeconfig { path: None }) => Source::DefaultKubeconfig,
        (None, Kubernetes::InCluster) => Source::InCluster,
        (
            None,
            Kubernetes::Embedded {
                listen,
                processes,
                nodes,
            },
        ) => {
            let namespace = &settings.manager.namespace;
            let embedded = Embedded::start(listen, namespace, processes.as_ref(), nodes).await?;
            let client = connect(Source::Kubeconfig(embedded.kubeconfig()), AGENT).await?;
            match processes {
                None => warn!(
                    "this is the EMBEDDED cluster: an API server and a simulated kubelet inside this process; \
                     nothing runs, and all is gone when it ends"
                ),
                Some(_) => warn!(
                    "this is the EMBEDDED cluster: an API server and a kubelet inside this process; containers are \
                     PROCESSES OF THIS MACHINE, without isolation and without their images; they end with it"
                ),
            }
            return Ok((client, Some(embedded)));
        }
    };
    Ok((connect(source, AGENT).await?, None))
}

/// Prints the addresses, on stdout, so that scripts can read them.
fn announce(addr: &SocketAddr, embedded: Option<&Embedded>, settings: &Settings) {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    // A closed pipe does not stop the daemon.
    let _ = writeln!(
        out,
        "wsman listens on {addr} (gRPC and HTTP); try: wsman client -H {addr} list"
    );
    if let Some(embedded) = embedded {
        let path = embedded.kubeconfig().display();
        let what = match &settings.kubernetes {
            Kubernetes::Embedded {
                processes: Some(_), ..
            } => "containers are processes of this machine",
            _ => "nothing is real",
        };
        let _ = writeln!(
            out,
            "embedded cluster, {what}: kubectl --kubeconfig {path} get pods"
        );
    }
    let _ = out.flush();
}

async fn bind(addr: &str, key: &str) -> anyhow::Result<TcpListener> {
    // ":8080" means every address in Go configurations.
    let addr = if addr.starts_with(':') {
        format!("[::]{addr}")
    } else {
        addr.to_owned()
    };
    TcpListener::bind(&addr)
        .await
        .with_context(|| format!("cannot listen on {key} {addr}"))
}

/// The first SIGTERM or SIGINT drains, the second ends the process.
fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let stopping = stop.clone();
    tasks::detached(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if stopping.is_cancelled() {
                error!("second signal: ending at once");
                super::exit_now(Exit::Failed);
            }
            stopping.cancel();
        }
    });
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_or_required_certificates_keep_owner_tokens() {
        use ClientAuth::{None, Request, Require};
        for (addr, clients, exposed) in [
            ("127.0.0.1", None, false),
            ("127.9.9.9", None, false),
            ("::1", None, false),
            ("::ffff:127.0.0.1", None, false),
            ("0.0.0.0", None, true),
            ("::", Request, true),
            ("::", Require, false),
            ("10.0.0.1", None, true),
            ("10.0.0.1", Require, false),
        ] {
            let listens = addr.parse().unwrap();
            assert_eq!(is_exposed(listens, clients), exposed, "{addr} {clients:?}");
        }
    }
}
