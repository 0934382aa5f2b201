//! Sessions that wait for machines.

use wsman::proto::wsman::sessions::v1::*;

use super::gang::*;
use crate::support::cluster::Cluster;

on_both_clusters! {
    c11_10_equal_sessions_run_in_the_order_of_their_start
}

async fn c11_10_equal_sessions_run_in_the_order_of_their_start(cluster: &Cluster) {
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let mut seen = gang.watch().await;
    let two = [("driver", "driver", "w"), ("worker", "server", "w")];
    for id in ["first", "second", "third"] {
        let of = script(
            request(cluster, id, &two),
            "driver",
            &[("exit-after", "200ms")],
        );
        gang.begin(of).await.unwrap();
    }
    let third = gang.get("third").await.unwrap();
    let queue = status(&third).queue.clone().unwrap();
    assert!(queue.position >= 1, "{queue:?}");
    for id in ["first", "second", "third"] {
        seen.until_phase(id, Phase::Succeeded).await;
    }
    let admitted: Vec<_> = ["first", "second", "third"]
        .iter()
        .map(|id| {
            let of = seen.updates.iter().rev().find(|session| session.id == *id);
            moments(of.unwrap())[1]
        })
        .collect();
    assert!(admitted.is_sorted(), "{admitted:?}");
    gang.world.drain().await.unwrap();
}
