//! Puts the daemon together and takes it apart again: the order of start and of the drain (reliability 5).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::info;

use crate::clock::Clock;
use crate::cluster::act::Actor;
use crate::cluster::{reconcile, watch as cluster_watch};
use crate::config::{Manager, RateLimit};
use crate::grpc::control::Turns;
use crate::grpc::limits::Limits;
use crate::grpc::workspaces::Workspaces;
use crate::grpc::{self, listen};
use crate::hub::Hub;
use crate::index::Index;
use crate::tasks::{Drain, Tasks};
use crate::{admin, workspaces};

/// What a daemon is made of. Everything is bound and connected before it starts.
#[allow(missing_debug_implementations, reason = "the client has none")]
pub struct Parts {
    /// How workspaces are made here.
    pub manager: Arc<Manager>,
    /// The API server.
    pub client: Client,
    /// Where callers connect.
    pub listener: TcpListener,
    /// How callers connect, if not in the clear.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Where probes connect.
    pub probes: Option<TcpListener>,
    /// Rate limits by full method.
    pub rate_limits: BTreeMap<String, RateLimit>,
    /// What time it is.
    pub clock: Clock,
    /// How patiently it ends.
    pub patience: Patience,
}

/// How long the steps of a drain may take; all together they stay below 25 s.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From not ready to refusing calls: load balancers must have noticed.
    pub notice: Duration,
    /// Over which the ends of streams are spread.
    pub spread: Duration,
    /// For mutations under way.
    pub mutations: Duration,
    /// For connections after the last stream: peers that never answer and health watches that never end are cut.
    pub goodbye: Duration,
}

impl Patience {
    /// Behind a load balancer.
    pub const CLUSTER: Self = Self {
        notice: Duration::from_secs(3),
        spread: Duration::from_secs(5),
        mutations: Duration::from_secs(15),
        goodbye: Duration::from_secs(2),
    };
    /// On a desk.
    pub const LOCAL: Self = Self {
        notice: Duration::ZERO,
        spread: Duration::ZERO,
        ..Self::CLUSTER
    };
}

/// Runs until `stop` is set, then drains.
///
/// # Errors
/// If a part ends that should not, or if the drain takes too long.
pub async fn run(parts: Parts, stop: CancellationToken) -> anyhow::Result<()> {
    let Parts {
        manager,
        client,
        listener,
        tls,
        probes,
        rate_limits,
        clock,
        patience,
    } = parts;
    let limits = Limits::new(&rate_limits, &clock)?;
    let hub = Hub::new(Index::new(workspaces::defaults(&manager)));
    let actor = Actor::new(client.clone(), &manager.namespace, hub.clone());
    let (_rules, rules) = watch::channel(Arc::new(workspaces::rules(&manager)));
    let drain = Drain::new(patience.spread);
    let closing = CancellationToken::new();

    let mut tasks = Tasks::default();
    cluster_watch::spawn(&mut tasks, &client, &manager.namespace, &hub, &actor);
    tasks.spawn(
        "lifecycle",
        reconcile::run(hub.clone(), actor.clone(), rules, clock.clone()),
    );
    let (health, keep_health) = grpc::health(hub.synced(), stop.clone()).await;
    tasks.spawn("health", keep_health);
    if let Some(probes) = probes {
        tasks.spawn("probes", admin::serve(probes, hub.synced(), stop.clone()));
    }
    let service = Workspaces {
        hub,
        actor,
        manager,
        clock,
        drain: drain.clone(),
        limits,
        turns: Turns::default(),
    };
    let connections = listen::accept(listener, tls);
    let mut server = AbortOnDropHandle::new(tokio::spawn(grpc::serve(
        service,
        connections,
        health,
        closing.clone(),
    )));

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
    tokio::time::sleep(patience.notice).await;
    drain.refuse.cancel();
    drain.streams.cancel();
    closing.cancel();
    drain.mutations.close();
    let refused = Instant::now();
    let finished = timeout_at(refused + patience.mutations, drain.mutations.wait()).await;
    let left = drain.mutations.len();
    if timeout_at(
        Instant::now().max(refused + patience.spread) + patience.goodbye,
        &mut server,
    )
    .await
    .is_err()
    {
        info!("cutting the connections that are left");
    }
    tasks.abort().await;
    info!(took = ?begun.elapsed(), "drained");
    anyhow::ensure!(finished.is_ok(), "{left} mutations were still under way");
    Ok(())
}
