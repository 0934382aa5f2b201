//! What is done to the daemons, their API server, their broker and the connections between, one thing every few seconds.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::broker::Broker;
use super::daemon::Daemon;
use super::support::envtest::RealCluster;
use super::support::proxy::{Link, Proxy};

/// One side of the run: a daemon, its way to the API server, and the way of some of its subscribers.
pub(crate) struct Side {
    pub(crate) daemon: Daemon,
    pub(crate) proxy: Proxy,
    pub(crate) link: Link,
}

/// Something bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    KillDaemon,
    EndDaemon,
    KillBothDaemons,
    CutFromApiServer,
    LoseHistory,
    KillApiServer,
    CutSubscribers,
    KillBroker,
    FreezeBroker,
    CloseConnections,
    CutFromBroker,
    AlarmBroker,
}

/// How often each happens, among all.
const MIX: [(Fault, usize); 12] = [
    (Fault::KillDaemon, 5),
    (Fault::EndDaemon, 3),
    (Fault::KillBothDaemons, 1),
    (Fault::CutFromApiServer, 3),
    (Fault::LoseHistory, 2),
    (Fault::KillApiServer, 1),
    (Fault::CutSubscribers, 3),
    (Fault::KillBroker, 2),
    (Fault::FreezeBroker, 2),
    (Fault::CloseConnections, 2),
    (Fault::CutFromBroker, 3),
    (Fault::AlarmBroker, 2),
];

/// Everything that can be harmed.
pub(crate) struct Victims<'a> {
    pub(crate) sides: &'a mut [Side],
    pub(crate) server: &'a RealCluster,
    pub(crate) broker: &'a Broker,
}

impl Victims<'_> {
    /// Does harm until the time is up, mends everything and returns what happened how often.
    pub(crate) async fn rage(
        mut self,
        rng: &mut fastrand::Rng,
        time: Duration,
    ) -> BTreeMap<Fault, u32> {
        let lots: Vec<Fault> = MIX
            .into_iter()
            .flat_map(|(fault, lots)| std::iter::repeat_n(fault, lots))
            .collect();
        let (begun, mut happened) = (Instant::now(), BTreeMap::new());
        while begun.elapsed() < time {
            sleep(Duration::from_millis(rng.u64(1_000..4_000))).await;
            let side = rng.usize(..self.sides.len());
            let fault = lots[rng.usize(..lots.len())];
            let away = Duration::from_millis(rng.u64(0..3_000));
            let name = self.sides[side].daemon.name;
            let at = begun.elapsed().as_secs_f64();
            println!("{at:6.1} s  {fault:?}, side {name}, for {away:?}");
            *happened.entry(fault).or_default() += 1;
            self.strike(fault, side, away).await;
        }
        happened
    }

    async fn strike(&mut self, fault: Fault, side: usize, away: Duration) {
        let Self {
            sides,
            server,
            broker: Broker { node, link, .. },
        } = self;
        let side = &mut sides[side];
        match fault {
            Fault::KillDaemon => {
                side.daemon.kill();
                sleep(away).await;
                side.daemon.spawn();
            }
            Fault::EndDaemon => {
                side.daemon.terminate().await;
                sleep(away).await;
                side.daemon.spawn();
            }
            Fault::KillBothDaemons => {
                sides.iter_mut().for_each(|side| side.daemon.kill());
                sleep(away).await;
                sides.iter_mut().for_each(|side| side.daemon.spawn());
            }
            Fault::CutFromApiServer => cut(&side.proxy, away).await,
            Fault::LoseHistory => {
                side.proxy.cut().await;
                sleep(away).await;
                server.compact_history().await;
                side.proxy.mend().await;
            }
            Fault::KillApiServer => {
                server.stop_api_server();
                sleep(away).await;
                server.start_api_server().await;
            }
            Fault::CutSubscribers => cut_link(&side.link, away).await,
            Fault::KillBroker => {
                node.kill();
                sleep(away).await;
                node.start().await;
            }
            Fault::FreezeBroker => {
                node.signal("-STOP");
                // Longer than a confirm may take, now and then.
                sleep(2 * away).await;
                node.signal("-CONT");
            }
            Fault::CloseConnections => {
                node.ctl(&["close_all_connections", "chaos"]).await;
            }
            Fault::CutFromBroker => cut_link(link, away).await,
            Fault::AlarmBroker => {
                node.alarm(true).await;
                sleep(away).await;
                node.alarm(false).await;
            }
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
