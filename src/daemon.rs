//! Composes the daemon and shuts it down: the order of the start and of the drain (docs/operations.md#shutdown).

mod bus;
mod sessions;
pub mod workspaces;

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::admin::{self, Page};
use crate::amqp::Publisher;
use crate::backups::Backups;
use crate::clock::Clock;
use crate::cluster::act::Actor;
use crate::cluster::lease::LeaderElector;
use crate::cluster::rights::{self, Right};
use crate::cluster::{reconcile, watch as cluster_watch};
use crate::config::{ClientAuth, Settings};
use crate::grpc::backups::Saved;
use crate::grpc::forward::Forward;
use crate::grpc::images::Images;
use crate::grpc::inspect::Inspect;
use crate::grpc::lookup::Lookup;
use crate::grpc::operations::Operations;
use crate::grpc::workspaces::Workspaces;
use crate::http::hosts::Hosts;
use crate::hub::Hub;
use crate::index::input::Input;
use crate::index::{Changes, Index};
use crate::lease::LeaseState;
use crate::proto::served::backups_server::BackupsServer;
use crate::proto::served::inspector_server::InspectorServer;
use crate::proto::served::operations_server::OperationsServer;
use crate::proto::served::scheduling_service_server::SchedulingServiceServer;
use crate::proto::served::sessions_server::SessionsServer;
use crate::proto::served::spec_provider_server::SpecProviderServer;
use crate::proto::served::workspace_manager_server::WorkspaceManagerServer;
use crate::readiness::{Component, Readiness};
use crate::rpc::REQUEST_LIMIT;
use crate::rpc::call::CallContext;
use crate::rpc::in_flight::{self, ConnectionLimiter, InFlight};
use crate::rpc::limits::Limits;
use crate::rpc::methods::Methods;
use crate::server::{Server, Services, listen};
use crate::tasks::{self, Drain, Tasks};
use crate::trace;
use crate::workspaces::decide::LifecyclePolicy;
use crate::workspaces::entry::Workspace;
use crate::workspaces::status::Defaults;
use crate::workspaces::{defaults, policy};
use crate::wsdaemon::Daemons;
use bus::Publishers;
use workspaces::{activity, content, feed};

/// The parts of a daemon. Everything is bound and connected before it starts.
#[allow(missing_debug_implementations, reason = "the client has none")]
pub struct Parts {
    /// The configuration; `manager` and `rpc.rate_limits` may change while the daemon runs.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// The identity of this replica, new at every start.
    pub identity: String,
    /// Receives whether this replica leads.
    pub lease_state: watch::Sender<LeaseState>,
    pub client: Client,
    /// The gRPC and HTTP listener.
    pub listener: TcpListener,
    /// Receives the counts of what is in flight.
    pub in_flight: watch::Sender<InFlight>,
    /// The publisher on the message bus, if there is one.
    pub bus: Option<Publisher>,
    /// The client of the ws-daemons of Gitpod's nodes.
    pub daemons: Daemons,
    /// The TLS configuration; without it, connections are in plaintext.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// The listener of the probes.
    pub probes: Option<TcpListener>,
    pub clock: Clock,
    /// The shutdown timeouts.
    pub shutdown: ShutdownTimeouts,
}

/// How long the steps of a drain may take; their sum is below 25 s.
#[derive(Debug, Clone, Copy)]
pub struct ShutdownTimeouts {
    /// From not ready to rejecting calls: load balancers must notice.
    pub notice: Duration,
    /// The time over which streams end.
    pub spread: Duration,
    /// For mutations in progress.
    pub mutations: Duration,
    /// For connections after the last stream: silent peers and health watches are closed.
    pub connections: Duration,
}

impl ShutdownTimeouts {
    /// Behind a load balancer.
    pub const CLUSTER: Self = Self {
        notice: Duration::from_secs(3),
        spread: Duration::from_secs(5),
        mutations: Duration::from_secs(15),
        connections: Duration::from_secs(2),
    };
    /// On a desk.
    pub const LOCAL: Self = Self {
        notice: Duration::ZERO,
        spread: Duration::ZERO,
        ..Self::CLUSTER
    };
}

/// For the last checkpoint, again for the release of the Lease, and for the rest of the event trace log.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs until `stop` is cancelled, then drains.
///
/// # Errors
/// If a task ends unexpectedly, or if the drain takes too long.
pub async fn run(parts: Parts, stop: CancellationToken) -> anyhow::Result<()> {
    let Parts {
        settings,
        identity,
        lease_state,
        client,
        listener,
        in_flight,
        bus,
        daemons,
        tls,
        probes,
        clock,
        shutdown,
    } = parts;
    let initial = settings.borrow().clone();
    let (new_limits, limits) = watch::channel(Limits::default());
    let namespace = initial.manager.namespace.clone();
    let index = Index::new(defaults(&initial.manager));
    let trace = Some(initial.manager.event_trace_log.as_str()).filter(|path| !path.is_empty());
    let mut observers = Vec::new();
    let trace = trace.map(|target| {
        let (observer, writing) = trace::start(target, clock.clone());
        observers.push(observer);
        writing
    });
    let hub = Hub::observed(index, clock.clone(), observers);
    let answers = hub.clone();
    let sink = Arc::new(move |input: Input<'_>| drop(answers.take(input)));
    let actor = Actor::new(client.clone(), &namespace, sink);
    let (new_policy, configured) = watch::channel(Arc::new(policy(&initial)));
    let readiness = Readiness::default();
    let workspaces_component = readiness.component("workspaces");
    workspaces_component.not_ready("the workspaces are not listed yet");
    let elector = LeaderElector::new(
        actor.clone(),
        clock.clone(),
        identity,
        lease_state,
        readiness.component("lease"),
    );
    let flush = CancellationToken::new();
    let drain = Drain::new(shutdown.spread);
    let closing = CancellationToken::new();
    let builder = Forward::new(initial.image_builder.as_ref(), drain.clone())?;

    let backups = Backups::new(settings.clone());
    let mut tasks = Tasks::default();
    let followed = workspaces::follow_policy(
        &mut tasks,
        client.clone(),
        &namespace,
        &readiness,
        configured,
    );
    cluster_watch::spawn(
        &mut tasks,
        &client,
        &namespace,
        &hub,
        &actor,
        &readiness,
        workspaces::selectors(initial.manager.services.exist(), followed.known),
    );
    tasks.spawn("lease", elector.clone().run());
    tasks.spawn(
        "watch the lease",
        elector.clone().watch(
            client.clone(),
            namespace.clone(),
            readiness.component("watch lease"),
        ),
    );
    let rights = rights::report(actor.clone(), more_rights(&initial));
    tasks.spawn("rights", rights);
    tasks.spawn(
        "readiness",
        follow_synced(hub.synced(), workspaces_component),
    );
    tasks.spawn(
        "watch ws-daemons",
        content::follow_daemons(
            client.clone(),
            namespace.clone(),
            daemons.clone(),
            settings.clone(),
            readiness.optional("ws-daemons"),
        ),
    );
    tasks.spawn(
        "watch activity",
        activity::follow(
            client.clone(),
            namespace.clone(),
            hub.clone(),
            readiness.component("activity"),
        ),
    );
    tasks.spawn(
        "checkpoints",
        activity::keep(
            hub.clone(),
            actor.clone(),
            elector.leadership(),
            clock.clone(),
        ),
    );
    tasks.spawn(
        "lifecycle",
        reconcile::run(
            hub.clone(),
            actor.clone(),
            followed.policy.clone(),
            clock.clone(),
            elector.leadership(),
            Arc::new(content::Backends {
                backups: backups.clone(),
                actor: actor.clone(),
                settings: settings.clone(),
                daemons: daemons.clone(),
                clock: clock.clone(),
            }),
            {
                let (hub, actor, clock) = (hub.clone(), actor.clone(), clock.clone());
                async move || activity::read(&hub, &actor, &clock).await
            },
        ),
    );
    let context = CallContext::new(drain.clone(), limits);
    let shared = sessions::Shared {
        client: &client,
        namespace: &namespace,
        readiness: &readiness,
        clock: &clock,
        leadership: elector.leadership(),
        settings: settings.clone(),
        calls: context.clone(),
    };
    let sessions = sessions::start(&mut tasks, &shared);
    let mut publishers = Publishers::default();
    if let Some(bus) = bus {
        let of_sessions = sessions.as_ref().map(|sessions| (bus.another(), sessions));
        publishers.start(
            &mut tasks,
            (workspaces::BUS, &readiness),
            bus,
            feed(&hub),
            elector.leadership(),
            &flush,
        );
        if let Some((bus, sessions)) = of_sessions {
            publishers.start(
                &mut tasks,
                (sessions::BUS, &readiness),
                bus,
                sessions::feed(&sessions.hub),
                elector.leadership(),
                &flush,
            );
        }
    }
    let pools = sessions.as_ref().map(sessions::page);
    let lookup = Lookup::new(hub.clone(), actor.clone(), followed.switch);
    let workspaces = Workspaces::new(
        context.clone(),
        lookup.clone(),
        settings.clone(),
        clock.clone(),
        daemons,
    );
    let images = Images {
        lookup: lookup.clone(),
    };
    let saved = Saved {
        lookup: lookup.clone(),
        backups,
    };
    let inspect = Inspect {
        lookup,
        policy: followed.policy,
        leadership: elector.leadership(),
        clock: clock.clone(),
    };
    let mut services = Services::new()?
        .register(WorkspaceManagerServer::new(workspaces).max_decoding_message_size(REQUEST_LIMIT))?
        .register(SpecProviderServer::new(images).max_decoding_message_size(REQUEST_LIMIT))?
        .register(InspectorServer::new(inspect).max_decoding_message_size(REQUEST_LIMIT))?
        .register(BackupsServer::new(saved).max_decoding_message_size(REQUEST_LIMIT))?
        .passthrough(builder);
    if let Some(sessions) = sessions {
        let operations = Operations {
            sessions: sessions.clone(),
        };
        let scheduling = SchedulingServiceServer::new(operations.clone());
        let operations = OperationsServer::new(operations);
        let sessions = SessionsServer::new(sessions);
        services = services
            .register(sessions.max_decoding_message_size(REQUEST_LIMIT))?
            .register(operations.max_decoding_message_size(REQUEST_LIMIT))?
            .register(scheduling.max_decoding_message_size(REQUEST_LIMIT))?;
    }
    let methods = services.methods().clone();
    new_limits.send_replace(Limits::new(&initial.rpc.rate_limits, &methods, &clock)?);
    let (server, keep_health) =
        Server::new(services, context, readiness.watch(), stop.clone()).await?;
    tasks.spawn("health", keep_health);
    tasks.spawn(
        "configuration",
        configure(
            settings,
            new_policy,
            new_limits,
            methods,
            hub.clone(),
            clock.clone(),
        ),
    );
    if let Some(probes) = probes {
        let in_flight = in_flight.subscribe();
        let load = Page::new("load", move || {
            serde_json::to_string(&*in_flight.borrow()).ok()
        });
        let pages = [load, publishers.page()].into_iter().chain(pools).collect();
        let probes = admin::serve(probes, readiness.watch(), pages, stop.clone());
        tasks.spawn("probes", probes);
    }
    let limiter = ConnectionLimiter::new(in_flight::CONNECTIONS, in_flight);
    let hosts = Hosts {
        loopback: listener.local_addr()?.ip().to_canonical().is_loopback(),
        tls: tls.is_some(),
        identity: tls.is_some() && initial.rpc.client_auth == ClientAuth::Require,
        origins: initial.rpc.allow_origins.clone(),
    };
    let connections = listen::accept(listener, tls, limiter);
    let serving = closing.clone();
    let serving = server.serve(connections, hosts, serving);
    let mut server = tasks::scoped(serving);

    tokio::select! {
        () = stop.cancelled() => {}
        (name, why) = tasks.first_to_end() => anyhow::bail!("{name} ended: {why:#}"),
        ended = &mut server => {
            ended??;
            anyhow::bail!("the gRPC server ended");
        }
    }

    let begun = Instant::now();
    info!("draining");
    tokio::time::sleep(shutdown.notice).await;
    drain.refuse.cancel();
    drain.streams.cancel();
    closing.cancel();
    drain.mutations.close();
    let refused = Instant::now();
    let finished = timeout_at(refused + shutdown.mutations, drain.mutations.wait()).await;
    let left = drain.mutations.len();
    flush.cancel();
    let closed = timeout_at(
        Instant::now().max(refused + shutdown.spread) + shutdown.connections,
        &mut server,
    );
    let (closed, ()) = tokio::join!(closed, async {
        publishers.flushed().await;
    });
    if closed.is_err() {
        info!("cutting the connections that are left");
    }
    tasks.abort().await;
    // In this order: the next leader starts with the recorded activity.
    activity::finish(&hub, &actor, &clock, Instant::now() + LAST_WRITE_TIMEOUT).await;
    elector.release(Instant::now() + LAST_WRITE_TIMEOUT).await;
    if let Some(trace) = trace {
        trace.finish(LAST_WRITE_TIMEOUT).await;
    }
    info!(took = ?begun.elapsed(), "drained");
    anyhow::ensure!(finished.is_ok(), "{left} mutations were still under way");
    Ok(())
}

/// Returns what a configuration needs beside the rights of all.
pub fn more_rights(settings: &Settings) -> &'static [Right] {
    match settings.sessions {
        Some(_) => &sessions::RIGHTS,
        None => &[],
    }
}

/// The index is ready while the API server sends something.
async fn follow_synced(
    mut synced: watch::Receiver<bool>,
    component: Component,
) -> anyhow::Result<()> {
    loop {
        match *synced.borrow_and_update() {
            true => component.ready(),
            false => component.not_ready("no event of the API server so far, or not recently"),
        }
        synced.changed().await?;
    }
}

/// Passes a new configuration to the index, the lifecycle and the rate limits. Unchanged limits keep their buckets.
async fn configure(
    mut changes: watch::Receiver<Arc<Settings>>,
    new_policy: watch::Sender<Arc<LifecyclePolicy>>,
    limits: watch::Sender<Limits>,
    methods: Methods,
    hub: Hub<Workspace>,
    clock: Clock,
) -> anyhow::Result<()> {
    let mut settings = changes.borrow_and_update().clone();
    while changes.changed().await.is_ok() {
        let before = std::mem::replace(&mut settings, changes.borrow_and_update().clone());
        if before.rpc.rate_limits != settings.rpc.rate_limits {
            limits.send_replace(Limits::new(&settings.rpc.rate_limits, &methods, &clock)?);
        }
        hub.change(|index| {
            // The version offset stays: with another, versions might run backwards.
            let version_offset = index.defaults().version_offset;
            let defaults = defaults(&settings.manager);
            index.set_defaults(Defaults {
                version_offset,
                ..defaults
            });
            Changes::default()
        });
        new_policy.send_replace(Arc::new(policy(&settings)));
    }
    // Without a reload.
    std::future::pending().await
}
