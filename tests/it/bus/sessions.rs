//! Sessions on the message bus, by the publisher of their own.

use serde_json::Value;
use tonic_health::pb::health_check_response::ServingStatus;
use wsman::proto::wsman::sessions::v1::sessions_client::SessionsClient;
use wsman::proto::wsman::sessions::v1::{Phase, Session};

use super::*;
use crate::sessions::gang::{Gang, machines, request, script};
use crate::support::cluster::Cluster;
use crate::support::rabbit;
use crate::support::world::World;

on_both_clusters! {
    fq15_sessions_are_published_in_order_and_end_once
}

const TWO: [(&str, &str, &str); 2] = [("driver", "driver", "w"), ("server", "server", "w")];
/// The publisher of sessions among the components.
const OF_SESSIONS: &str = "messagebus of sessions";

/// A daemon with sessions and a message bus.
async fn start(cluster: &Cluster, file: &std::path::Path) -> Gang {
    let change = |config: &mut Value| {
        config["messagebus"] = serde_json::json!({ "urlFile": file });
        config["sessions"] = serde_json::json!({});
    };
    let world = World::start_with(cluster.client().await, &cluster.namespace, change).await;
    let client = SessionsClient::new(world.channel().await);
    Gang { world, client }
}

/// Starts a session that soon ends well.
async fn begin(gang: &Gang, cluster: &Cluster, id: &str) {
    let soon = [("exit-after", "200ms")];
    let request = script(request(cluster, id, &TWO), "driver", &soon);
    gang.begin(request).await.unwrap();
}

/// Waits until the page of the message bus has that of the publisher of sessions.
async fn page(gang: &Gang, wanted: impl Fn(&Value) -> bool) -> Value {
    let begun = std::time::Instant::now();
    loop {
        let answer = gang.world.probe("/messagebus").await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let page: Value = serde_json::from_str(body).unwrap();
        if wanted(&page["sessions"]) {
            return page;
        }
        assert!(begun.elapsed() < TIMEOUT, "{page:#}");
        tokio::task::yield_now().await;
    }
}

async fn fq15_sessions_are_published_in_order_and_end_once(cluster: &Cluster) {
    let Some(node) = rabbit::breakable("fq15").await else {
        return;
    };
    let vhost = format!("fq15-{}", cluster.namespace);
    let url = node.vhost(&vhost, "secret").await;
    let mut queue = Queue::bound(&url, "q", "*.*.sessions").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    std::fs::write(&file, &url).unwrap();
    machines(cluster, "w", 2).await;
    let gang = start(cluster, &file).await;

    // The stream and the bus have the same.
    begin(&gang, cluster, "one").await;
    let ended = gang.until_phase("one", Phase::Succeeded).await;
    let message = queue.until_phase("one", "SUCCEEDED").await;
    assert_eq!(message.key, "default.one.sessions");
    let same: Session = serde_json::from_value(message.body).unwrap();
    assert_eq!(same.spec, ended.spec);
    let [of_bus, of_stream] = [same, ended].map(|session| session.status.unwrap());
    assert_eq!(
        (of_bus.times, of_bus.exit_code),
        (of_stream.times, of_stream.exit_code)
    );
    assert_eq!(gang.world.health(OF_SESSIONS).await, ServingStatus::Serving);
    let connected = page(&gang, |sessions| sessions["isConnected"] == true).await;
    assert_eq!(connected["isPublisher"], true, "that of workspaces");

    // Without a broker sessions go on, and their last state waits.
    node.kill();
    page(&gang, |sessions| sessions["isConnected"] == false).await;
    let health = gang.world.health(OF_SESSIONS).await;
    assert_eq!(health, ServingStatus::NotServing);
    begin(&gang, cluster, "two").await;
    gang.until_phase("two", Phase::Succeeded).await;
    node.start().await;
    queue.until_phase("two", "SUCCEEDED").await;

    // Another daemon publishes what is there, under the ids that it had.
    gang.world.kill().await;
    queue.drain().await;
    let before = (queue.history.len(), queue.check());
    let gang = start(cluster, &file).await;
    page(&gang, |sessions| sessions["confirmed"] == 2).await;
    queue.drain().await;
    let after = (queue.history.len(), queue.check());
    assert_eq!(after, (before.0 + 2, before.1 + 2));

    // The end has one id and, without repeats, is the last.
    for id in ["one", "two"] {
        let of = { queue.history.iter() }.filter(|message| message.instance == id);
        let mut ids: Vec<_> = of.map(|message| message.id.as_str()).collect();
        let mut seen = std::collections::HashSet::new();
        ids.retain(|id| seen.insert(*id));
        let end = ids.iter().position(|id| id.ends_with("@SUCCEEDED"));
        assert_eq!(end, Some(ids.len() - 1), "{ids:?}");
    }
    gang.world.drain().await.unwrap();
}
