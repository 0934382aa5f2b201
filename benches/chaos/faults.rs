//! What is done to the daemons, their API server and the connections between, one thing every few seconds.

use std::time::{Duration, Instant};

use super::daemon::Daemon;
use super::support::envtest::RealCluster;
use super::support::proxy::{Link, Proxy};

/// One side of the run: a daemon, its way to the API server, and the way of some of its subscribers.
pub(crate) struct Side {
    pub(crate) daemon: Daemon,
    pub(crate) proxy: Proxy,
    pub(crate) link: Link,
}

/// Does harm until the time is up, then mends everything.
pub(crate) async fn rage(
    sides: &mut [Side],
    server: &RealCluster,
    rng: &mut fastrand::Rng,
    time: Duration,
) {
    let begun = Instant::now();
    while begun.elapsed() < time {
        tokio::time::sleep(Duration::from_millis(rng.u64(1_000..4_000))).await;
        let which = rng.usize(..sides.len());
        let side = &mut sides[which];
        let name = side.daemon.name;
        let say = |what: &str| println!("{:6.1} s  {what}", begun.elapsed().as_secs_f64());
        let away = Duration::from_millis(rng.u64(0..3_000));
        match rng.u8(..20) {
            0..7 => {
                say(&format!("kill -9 {name}, away for {away:?}"));
                side.daemon.kill();
                tokio::time::sleep(away).await;
                side.daemon.spawn();
            }
            7..10 => {
                say(&format!("terminate {name}, away for {away:?}"));
                side.daemon.terminate().await;
                tokio::time::sleep(away).await;
                side.daemon.spawn();
            }
            10..13 => {
                say(&format!("cut {name} from the API server for {away:?}"));
                side.proxy.cut().await;
                tokio::time::sleep(away).await;
                side.proxy.mend().await;
            }
            13..15 => {
                say(&format!(
                    "cut {name} from the API server for {away:?}, which forgets"
                ));
                side.proxy.cut().await;
                tokio::time::sleep(away).await;
                server.compact_history().await;
                side.proxy.mend().await;
            }
            15..18 => {
                say(&format!("cut subscribers from {name} for {away:?}"));
                side.link.cut().await;
                tokio::time::sleep(away).await;
                side.link.mend().await;
            }
            18 => {
                say("kill both daemons");
                sides.iter_mut().for_each(|side| side.daemon.kill());
                tokio::time::sleep(away).await;
                sides.iter_mut().for_each(|side| side.daemon.spawn());
            }
            _ => {
                say(&format!("kill the API server, away for {away:?}"));
                server.stop_api_server();
                tokio::time::sleep(away).await;
                server.start_api_server().await;
                say("the API server is back");
            }
        }
    }
}
