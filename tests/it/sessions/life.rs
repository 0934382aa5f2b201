//! A session from its start to its end.

use k8s_openapi::api::core::v1::Pod;
use tonic::Code;
use wsman::proto::wsman::sessions::v1::*;

use super::gang::*;
use crate::support::cluster::Cluster;

on_both_clusters! {
    c11_1_a_session_starts_as_one_pod_per_component
    c11_16_the_decider_decides
}

const THREE: [(&str, &str, &str); 3] = [
    ("driver", "driver", "d"),
    ("server", "server", "w"),
    ("client", "client", "w"),
];

async fn c11_1_a_session_starts_as_one_pod_per_component(cluster: &Cluster) {
    machines(cluster, "d", 1).await;
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let mut seen = gang.watch().await;
    let request = script(
        request(cluster, "one", &THREE),
        "driver",
        &[("exit-after", "100ms")],
    );
    let started = gang.begin(request.clone()).await.unwrap();
    assert_eq!(started.id, "one");
    let pods = pods(cluster, "one").await;
    let names: Vec<_> = pods
        .iter()
        .map(|pod| pod.metadata.name.clone().unwrap())
        .collect();
    assert_eq!(names, ["one", "one.client", "one.server"]);
    for (pod, (role, of)) in pods
        .iter()
        .zip([("driver", "d"), ("client", "w"), ("server", "w")])
    {
        let labels = pod.metadata.labels.as_ref().unwrap();
        assert_eq!(labels["wsman.dev/group"], "one");
        assert_eq!(labels["wsman.dev/kind"], "session");
        assert_eq!(labels["wsman.dev/role"], role);
        assert_eq!(labels["wsman.dev/pool"], pool(cluster, of));
    }
    let ended = seen.until_phase("one", Phase::Succeeded).await;
    let times = moments(&ended);
    assert!(
        times.iter().all(Option::is_some) && times.is_sorted(),
        "{times:?}"
    );
    assert_eq!(status(&ended).exit_code, Some(0));
    let phases = seen.phases("one");
    let order = [
        Phase::Queued,
        Phase::Provisioning,
        Phase::Running,
        Phase::Succeeded,
    ];
    assert_eq!(phases, order);
    // The same request again is answered, another one is refused.
    assert_eq!(
        phase(&gang.begin(request.clone()).await.unwrap()),
        Phase::Succeeded
    );
    let mut other = request;
    other.spec.as_mut().unwrap().priority = 1;
    assert_eq!(code(&gang.begin(other).await), Code::AlreadyExists);
    gang.world.drain().await.unwrap();
}

async fn c11_16_the_decider_decides(cluster: &Cluster) {
    machines(cluster, "d", 1).await;
    machines(cluster, "w", 2).await;
    let gang = Gang::start(cluster).await;
    let mut seen = gang.watch().await;
    // A client that ends well first ends nothing; then the driver fails.
    let mut of = request(cluster, "fails", &THREE);
    of = script(of, "client", &[("exit-after", "50ms")]);
    of = script(of, "driver", &[("exit-after", "400ms"), ("exit-code", "3")]);
    gang.begin(of).await.unwrap();
    let ended = seen.until_phase("fails", Phase::Failed).await;
    assert_eq!(status(&ended).exit_code, Some(3));
    let server = |pod: Option<&Pod>| {
        let phase = pod?.status.as_ref()?.phase.clone()?;
        Some(phase == "Failed" || phase == "Succeeded")
    };
    cluster
        .until_pod("fails.server", |pod| server(Some(pod)) == Some(true))
        .await;
    // A client that fails while the driver runs fails it.
    let mut of = request(cluster, "broken", &THREE);
    of = script(of, "client", &[("exit-after", "300ms"), ("exit-code", "1")]);
    gang.begin(of).await.unwrap();
    let ended = seen.until_phase("broken", Phase::Failed).await;
    assert!(status(&ended).message.contains("client"), "{ended:?}");
    gang.world.drain().await.unwrap();
}
