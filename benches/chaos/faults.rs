//! The faults of the daemons, their API server, their broker and the connections between, one every few seconds.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::broker::Broker;
use super::daemon::Daemon;
use super::support::envtest::RealCluster;
use super::support::proxy::{Link, Proxy};

/// One side of the run: a daemon, its connection to the API server, and the connection of some of its subscribers.
pub(crate) struct Side {
    pub(crate) daemon: Daemon,
    pub(crate) proxy: Proxy,
    pub(crate) link: Link,
}

/// A fault of the daemons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillDaemon,
    EndDaemon,
    KillBothDaemons,
    CutFromApiServer,
    LoseHistory,
    KillApiServer,
    CutSubscribers,
}

/// A fault of the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum BusFault {
    KillBroker,
    FreezeBroker,
    CloseConnections,
    CutFromBroker,
    AlarmBroker,
}

/// How often each happens, among all.
const MIX: [(Fault, usize); 7] = [
    (Fault::KillDaemon, 5),
    (Fault::EndDaemon, 3),
    (Fault::KillBothDaemons, 1),
    (Fault::CutFromApiServer, 3),
    (Fault::LoseHistory, 2),
    (Fault::KillApiServer, 1),
    (Fault::CutSubscribers, 3),
];

/// The same for the broker.
const BUS_MIX: [(BusFault, usize); 5] = [
    (BusFault::KillBroker, 2),
    (BusFault::FreezeBroker, 2),
    (BusFault::CloseConnections, 2),
    (BusFault::CutFromBroker, 3),
    (BusFault::AlarmBroker, 2),
];

/// A fault that a process survives, and that needs the most memory.
const SURVIVED: [Fault; 4] = [
    Fault::CutFromApiServer,
    Fault::LoseHistory,
    Fault::KillApiServer,
    Fault::CutSubscribers,
];

/// Everything that can fail.
pub(crate) struct Victims<'a> {
    pub(crate) sides: &'a mut [Side],
    pub(crate) server: &'a RealCluster,
    pub(crate) broker: &'a Broker,
}

impl Victims<'_> {
    /// Injects faults until the time is up, into the daemons and the broker each in their own rhythm, repairs
    /// everything and returns the number of each fault.
    pub(crate) async fn rage(
        self,
        rng: &mut fastrand::Rng,
        time: Duration,
    ) -> BTreeMap<String, u32> {
        let Self {
            sides,
            server,
            broker,
        } = self;
        let (mut one, mut other) = (rng.fork(), rng.fork());
        let mut sides_rng = rng.fork();
        let daemons = storm(&mut one, time, &MIX, async |fault, away| {
            let side = sides_rng.usize(..sides.len());
            strike(sides, server, fault, side, away).await;
        });
        let bus = storm(&mut other, time, &BUS_MIX, async |fault, away| {
            strike_bus(broker, fault, away).await;
        });
        let (mut happened, more) = tokio::join!(daemons, bus);
        happened.extend(more);
        happened
    }

    /// Injects once into each side what a process survives, and into the broker what makes most updates wait.
    pub(crate) async fn rehearse(self) {
        let away = Duration::from_secs(2);
        for side in 0..self.sides.len() {
            for fault in SURVIVED {
                strike(self.sides, self.server, fault, side, away).await;
                sleep(away).await;
            }
        }
        strike_bus(self.broker, BusFault::KillBroker, away).await;
    }
}

/// Injects a fault every few seconds until the time is up.
async fn storm<F: Copy + Debug>(
    rng: &mut fastrand::Rng,
    time: Duration,
    mix: &[(F, usize)],
    mut strike: impl AsyncFnMut(F, Duration),
) -> BTreeMap<String, u32> {
    let lots: Vec<F> = mix
        .iter()
        .flat_map(|(fault, lots)| std::iter::repeat_n(*fault, *lots))
        .collect();
    let (begun, mut happened) = (Instant::now(), BTreeMap::new());
    while begun.elapsed() < time {
        sleep(Duration::from_millis(rng.u64(1_000..4_000))).await;
        let fault = lots[rng.usize(..lots.len())];
        let away = Duration::from_millis(rng.u64(0..3_000));
        let at = begun.elapsed().as_secs_f64();
        println!("{at:6.1} s  {fault:?}, for {away:?}");
        *happened.entry(format!("{fault:?}")).or_default() += 1;
        strike(fault, away).await;
    }
    happened
}

async fn strike(
    sides: &mut [Side],
    server: &RealCluster,
    fault: Fault,
    side: usize,
    away: Duration,
) {
    match fault {
        Fault::KillDaemon => {
            let daemon = &mut sides[side].daemon;
            daemon.kill();
            sleep(away).await;
            daemon.spawn();
        }
        Fault::EndDaemon => {
            let daemon = &mut sides[side].daemon;
            daemon.terminate().await;
            sleep(away).await;
            daemon.spawn();
        }
        Fault::KillBothDaemons => {
            sides.iter_mut().for_each(|side| side.daemon.kill());
            sleep(away).await;
            sides.iter_mut().for_each(|side| side.daemon.spawn());
        }
        Fault::CutFromApiServer => cut(&sides[side].proxy, away).await,
        Fault::LoseHistory => {
            let proxy = &sides[side].proxy;
            proxy.cut().await;
            sleep(away).await;
            server.compact_history().await;
            proxy.mend().await;
        }
        Fault::KillApiServer => {
            server.stop_api_server();
            sleep(away).await;
            server.start_api_server().await;
        }
        Fault::CutSubscribers => cut_link(&sides[side].link, away).await,
    }
}

async fn strike_bus(broker: &Broker, fault: BusFault, away: Duration) {
    let Broker { node, link, .. } = broker;
    match fault {
        BusFault::KillBroker => {
            node.kill();
            sleep(away).await;
            node.start().await;
        }
        BusFault::FreezeBroker => {
            node.signal("-STOP");
            // Sometimes longer than the timeout of a confirm.
            sleep(2 * away).await;
            node.signal("-CONT");
        }
        BusFault::CloseConnections => {
            node.ctl(&["close_all_connections", "chaos"]).await;
        }
        BusFault::CutFromBroker => cut_link(link, away).await,
        BusFault::AlarmBroker => {
            node.alarm(true).await;
            sleep(away).await;
            node.alarm(false).await;
        }
    }
}

async fn cut(proxy: &Proxy, away: Duration) {
    proxy.cut().await;
    sleep(away).await;
    proxy.mend().await;
}

async fn cut_link(link: &Link, away: Duration) {
    link.cut().await;
    sleep(away).await;
    link.mend().await;
}
