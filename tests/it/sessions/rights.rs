//! Sessions of a daemon with the least rights: it lists no nodes, and says so.

use serde_json::{Value, json};
use tonic::Code;
use wsman::cluster::connect::{AGENT, Source, connect};
use wsman::proto::wsman::sessions::v1::sessions_client::SessionsClient;
use wsman::proto::wsman::sessions::v1::*;

use super::gang::*;
use crate::processes::{Daemon, write_config, wsman};
use crate::rights::{account_without, logged};
use crate::support::cluster;
use crate::support::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c11_60_least_privilege() {
    let Some(cluster) = cluster::real("c11_60_least_privilege").await else {
        return;
    };
    machines(&cluster, "w", 2).await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = account_without(&cluster, folder.path(), ("get", "pods/log")).await;
    let fixed = json!({ "pools": { "fixed": { pool(&cluster, "w"): 2 } } });
    says_what_is_missing(&cluster.namespace, &kubeconfig, &fixed).await;

    let client = connect(Source::Kubeconfig(&kubeconfig), AGENT);
    let client = client.await.unwrap();
    let world = World::start_with(client, &cluster.namespace, |config| {
        config["sessions"] = fixed;
    });
    let world = world.await;
    let components = world.probe("/readyz?verbose").await;
    assert!(components.starts_with("HTTP/1.0 200"), "{components}");
    assert!(
        components.contains("nodes failed: cannot list nodes: "),
        "{components}"
    );
    let client = SessionsClient::new(world.channel().await);
    let gang = Gang { world, client };
    let listed = gang.client.clone().list_pools(ListPoolsRequest {}).await;
    let listed = listed.unwrap().into_inner();
    assert!(listed.nodes_unlisted);
    let [of_configuration] = listed.pools.as_slice() else {
        panic!("{listed:?}");
    };
    assert_eq!(of_configuration.name, pool(&cluster, "w"));
    assert!(of_configuration.fixed);
    assert_eq!((of_configuration.capacity, of_configuration.free), (2, 2));

    let page = gang.world.probe("/pools").await;
    let (_, body) = page.split_once("\r\n\r\n").unwrap();
    let page: Value = serde_json::from_str(body).unwrap();
    let counts = json!({ "name": pool(&cluster, "w"), "capacity": 2, "inUse": 0, "free": 2, "queued": 0, "elastic": 0 });
    assert_eq!(page, json!([counts]));

    let two = [("driver", "driver", "w"), ("server", "server", "w")];
    let of = script(
        request(&cluster, "two", &two),
        "driver",
        &[("exit-after", "100ms")],
    );
    gang.begin(of).await.unwrap();
    gang.until_phase("two", Phase::Succeeded).await;
    let three = [two[0], two[1], ("client", "client", "w")];
    let of = request(&cluster, "three", &three);
    assert_eq!(code(&gang.begin(of).await), Code::FailedPrecondition);
    let of = request(&cluster, "elsewhere", &[("driver", "driver", "other")]);
    assert_eq!(code(&gang.begin(of).await), Code::NotFound);
    gang.world.drain().await.unwrap();
}

/// At its start a daemon logs the verbs that are missing, and where its pools come from.
async fn says_what_is_missing(namespace: &str, kubeconfig: &std::path::Path, sessions: &Value) {
    for (block, logs) in [(None, false), (Some(sessions), true)] {
        let folder = tempfile::tempdir().unwrap();
        let path = write_config(folder.path(), namespace, 0);
        let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        if let Some(sessions) = block {
            config["sessions"] = sessions.clone();
        }
        std::fs::write(&path, config.to_string()).unwrap();
        let log = folder.path().join("log");
        let mut command = wsman();
        command.arg("run").arg("--config").arg(&path);
        command.arg("--kubeconfig").arg(kubeconfig);
        command.stderr(std::fs::File::create(&log).unwrap());
        let daemon = Daemon::spawn(command, folder);
        let line = logged(&log, "optional rights are missing").await;
        let missing = line["optional"].as_str().unwrap();
        assert!(missing.contains("list nodes (nodes that are lost, machines of pools)"));
        let names_logs = missing.contains("get pods/log (logs of sessions)");
        assert_eq!(names_logs, logs, "{missing}");
        if let Some(sessions) = block {
            let message = "nodes cannot be listed: the pools are those of sessions.pools.fixed";
            let line = logged(&log, message).await;
            let fixed = sessions["pools"]["fixed"].as_object().unwrap();
            assert_eq!(line["pools"], fixed.keys().next().unwrap().as_str());
        }
        daemon.kill();
    }
}
