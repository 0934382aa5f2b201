//! The simulated kubelet and scheduler: what a watch sees of pods that behave, and of those that do not.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Node, Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::watcher::{self, Event as Watched, watcher};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};
use tokio_util::sync::{CancellationToken, DropGuard};
use wsman_sim::kubelet::{Machine, Options, run};

use crate::support::cluster::clusters;
use crate::support::envtest::namespace;
use crate::support::{envtest, skip};
use look::{READY, UNREADY, look};

mod look;
mod places;
mod states;

/// Timeout of a wait.
const TIMEOUT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn finalizers_hold_a_pod_that_the_kubelet_deletes_once() {
    for cluster in clusters("finalizers_hold_a_pod_that_the_kubelet_deletes_once").await {
        let client = cluster.client;
        let namespace = namespace(&client, "finalizers").await;
        let _running = simulate(&client, &namespace);
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let mut held = pod("held", &[], &json!({}));
        held.metadata.finalizers = Some(vec!["test.wsman.dev/hold".to_owned()]);
        api.create(&PostParams::default(), &held).await.unwrap();
        until(&api, "held", |pod| look(pod) == READY).await;
        api.delete("held", &DeleteParams::default()).await.unwrap();
        let confirmed = |pod: &Pod| pod.metadata.deletion_grace_period_seconds == Some(0);
        let pod = until(&api, "held", confirmed).await;
        assert_eq!(look(&pod), "Succeeded terminated:Completed(0) deleting");
        // A write by the test shows that the kubelet does not write: versions are consecutive.
        let release = json!({ "metadata": { "finalizers": null, "resourceVersion": pod.resource_version() } });
        api.patch("held", &PatchParams::default(), &Patch::Merge(release))
            .await
            .unwrap();
        until_gone(&api, "held").await;
    }
}

#[tokio::test]
async fn a_lost_node_comes_back() {
    for cluster in clusters("a_lost_node_comes_back").await {
        let client = cluster.client;
        let namespace = namespace(&client, "lost").await;
        let _running = simulate(&client, &namespace);
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let nodes: Api<Node> = Api::all(client.clone());
        let create = |pod| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), &pod).await.unwrap() }
        };
        create(pod("victim", &[("node-lost-after", "500ms")], &json!({}))).await;
        until(&api, "victim", |pod| look(pod) == READY).await;
        let lost = until(&api, "victim", |pod| look(pod) == UNREADY).await;
        let name = lost.spec.unwrap().node_name.unwrap();
        let tainted = |node: &Node| {
            let taints = node
                .spec
                .as_ref()
                .and_then(|s| s.taints.clone())
                .unwrap_or_default();
            let execute = |t: &k8s_openapi::api::core::v1::Taint| {
                t.key == "node.kubernetes.io/unreachable"
                    && t.effect == "NoExecute"
                    && t.time_added.is_some()
            };
            taints.iter().any(execute)
        };
        let node = until(&nodes, &name, tainted).await;
        let ready = |node: &Node| {
            let all = node.status.clone().unwrap().conditions.unwrap();
            all.iter()
                .find(|c| c.type_ == "Ready")
                .unwrap()
                .status
                .clone()
        };
        assert_eq!(ready(&node), "Unknown");
        await_event(&client, &namespace, "victim", "NodeNotReady").await;
        // Another pod lands on the other node.
        create(pod("other", &[], &json!({}))).await;
        let other = until(&api, "other", |pod| look(pod) == READY).await;
        assert_ne!(other.spec.unwrap().node_name.unwrap(), name);

        let back = json!({ "metadata": { "annotations": { "sim.wsman.dev/lost": null } } });
        nodes
            .patch(&name, &PatchParams::default(), &Patch::Merge(back))
            .await
            .unwrap();
        until(&api, "victim", |pod| look(pod) == READY).await;
        let node = until(&nodes, &name, |node| !tainted(node)).await;
        assert_eq!(ready(&node), "True");
    }
}

#[tokio::test]
async fn a_pod_is_rejected_so_many_times() {
    for cluster in clusters("a_pod_is_rejected_so_many_times").await {
        let client = cluster.client;
        let namespace = namespace(&client, "rejected").await;
        let _running = simulate(&client, &namespace);
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let annotations = [("reject", "NodeAffinity"), ("reject-times", "2")];
        for expected in ["Failed/NodeAffinity", "Failed/NodeAffinity", READY] {
            let again = pod("again", &annotations, &json!({}));
            api.create(&PostParams::default(), &again).await.unwrap();
            let ends = |pod: &Pod| [READY, "Failed/NodeAffinity"].contains(&look(pod).as_str());
            let pod = until(&api, "again", ends).await;
            assert_eq!(look(&pod), expected);
            api.delete("again", &DeleteParams::default()).await.unwrap();
            until_gone(&api, "again").await;
        }
    }
}

#[tokio::test]
async fn a_simulation_that_is_killed_goes_on() {
    for cluster in clusters("a_simulation_that_is_killed_goes_on").await {
        let client = cluster.client;
        let namespace = namespace(&client, "killed").await;
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let probe = json!({ "containers": [
            { "name": "main", "image": "img", "readinessProbe": { "httpGet": { "port": 80 } } },
        ] });
        for index in 0..20 {
            let pod = pod(&format!("p{index}"), &[], &probe);
            api.create(&PostParams::default(), &pod).await.unwrap();
        }
        let (mut started, mut deleted) = (0, 0);
        let events = watcher(api.clone(), watcher::Config::default());
        tokio::pin!(events);
        let mut running = Some(simulate(&client, &namespace));
        let mut ready = HashSet::new();
        let story = async {
            while deleted < 20 {
                match events.next().await.unwrap() {
                    Ok(Watched::Apply(pod) | Watched::InitApply(pod)) => {
                        started += 1;
                        if look(&pod) == READY && ready.insert(pod.name_any()) {
                            let params = DeleteParams::default();
                            api.delete(&pod.name_any(), &params).await.unwrap();
                        }
                    }
                    Ok(Watched::Delete(_)) => deleted += 1,
                    _ => {}
                }
                if started % 7 == 0 {
                    drop(running.take());
                    running = Some(simulate(&client, &namespace));
                }
            }
        };
        if tokio::time::timeout(TIMEOUT, story).await.is_err() {
            let stuck = api.list(&ListParams::default()).await.unwrap();
            let stuck: Vec<_> = stuck.iter().map(look).collect();
            panic!("on the {} API server: {stuck:?}", cluster.name);
        }
    }
}

#[tokio::test]
async fn two_hundred_pods_start_at_once() {
    for cluster in clusters("two_hundred_pods_start_at_once").await {
        let client = cluster.client;
        let namespace = namespace(&client, "burst").await;
        let _running = simulate(&client, &namespace);
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let creations = (0..200).map(|index| {
            let api = api.clone();
            async move {
                let pod = pod(&format!("p{index}"), &[], &json!({}));
                api.create(&PostParams::default(), &pod).await.unwrap();
            }
        });
        let create = futures::stream::iter(creations)
            .buffer_unordered(16)
            .collect::<()>();
        let mut ready = HashSet::new();
        let events = watcher(api.clone(), watcher::Config::default());
        tokio::pin!(events);
        let watch = async {
            while ready.len() < 200 {
                let event = events.next().await.unwrap();
                if let Ok(Watched::Apply(pod) | Watched::InitApply(pod)) = event
                    && look(&pod) == READY
                {
                    ready.insert(pod.name_any());
                }
            }
        };
        let both = async { tokio::join!(create, watch) };
        tokio::time::timeout(TIMEOUT, both).await.unwrap();
        // Round robin: both nodes have their share.
        let pods = api.list(&ListParams::default()).await.unwrap();
        let first = format!("{namespace}-0");
        let on_first = pods
            .iter()
            .filter(|p| p.spec.as_ref().unwrap().node_name.as_ref() == Some(&first));
        assert_eq!(on_first.count(), 100);
    }
}

#[tokio::test]
async fn dependants_of_a_pod_go_with_it() {
    for cluster in clusters("dependants_of_a_pod_go_with_it").await {
        let client = cluster.client;
        let namespace = namespace(&client, "garbage").await;
        let _running = simulate(&client, &namespace);
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let owner = pod("owner", &[], &json!({}));
        let owner = api.create(&PostParams::default(), &owner).await.unwrap();
        let meta = |name: &str| {
            json!({ "name": name, "ownerReferences": [{
                "apiVersion": "v1", "kind": "Pod", "name": "owner", "uid": owner.uid().unwrap(),
            }] })
        };
        let owned = json!({ "metadata": meta("owned") });
        let service = json!({ "metadata": meta("owned"), "spec": { "ports": [{ "port": 80 }] } });
        create::<Secret>(&client, &namespace, &owned).await;
        create::<ConfigMap>(&client, &namespace, &owned).await;
        create::<Service>(&client, &namespace, &service).await;
        create::<Secret>(
            &client,
            &namespace,
            &json!({ "metadata": { "name": "free" } }),
        )
        .await;
        until(&api, "owner", |pod| look(pod) == READY).await;
        api.delete("owner", &DeleteParams::default()).await.unwrap();
        let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
        until_gone(&secrets, "owned").await;
        until_gone(
            &Api::<ConfigMap>::namespaced(client.clone(), &namespace),
            "owned",
        )
        .await;
        until_gone(
            &Api::<Service>::namespaced(client.clone(), &namespace),
            "owned",
        )
        .await;
        secrets.get("free").await.unwrap();
    }
}

#[tokio::test]
async fn the_kubelet_outlives_an_api_server_that_forgets_its_history() {
    let Some(cluster) = envtest::RealCluster::start_own().await else {
        return skip("the_kubelet_outlives_an_api_server_that_forgets_its_history");
    };
    let client = cluster.client();
    let namespace = namespace(&client, "restart").await;
    let _running = simulate(&client, &namespace);
    let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for name in ["one", "two"] {
        let pod = pod(name, &[], &json!({}));
        api.create(&PostParams::default(), &pod).await.unwrap();
    }
    until(&api, "one", |pod| look(pod) == READY).await;
    cluster.restart_api_server().await;
    // The watch of the kubelet may have come back already; what it missed is gone for good.
    let forced = DeleteParams::default().grace_period(0);
    api.delete("one", &forced).await.unwrap();
    cluster.compact_history().await;
    let three = pod("three", &[], &json!({}));
    api.create(&PostParams::default(), &three).await.unwrap();
    until(&api, "two", |pod| look(pod) == READY).await;
    until(&api, "three", |pod| look(pod) == READY).await;
    api.delete("two", &DeleteParams::default()).await.unwrap();
    until_gone(&api, "two").await;
}

async fn create<K>(client: &Client, namespace: &str, object: &Value)
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
        + Clone
        + std::fmt::Debug
        + serde::Serialize
        + serde::de::DeserializeOwned,
{
    let object: K = serde_json::from_value(object.clone()).unwrap();
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &object).await.unwrap();
}

/// Waits until an object looks as it should.
async fn until<K>(api: &Api<K>, name: &str, holds: impl Fn(&K) -> bool) -> K
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let events = watcher(
        api.clone(),
        watcher::Config::default().fields(&format!("metadata.name={name}")),
    );
    tokio::pin!(events);
    let mut last = None;
    let wait = async {
        loop {
            if let Ok(Watched::Apply(object) | Watched::InitApply(object)) =
                events.next().await.unwrap()
            {
                if holds(&object) {
                    return object;
                }
                last = Some(object);
            }
        }
    };
    match tokio::time::timeout(TIMEOUT, wait).await {
        Ok(object) => object,
        Err(_) => panic!("{name} stays {last:#?}"),
    }
}

/// Waits until an object does not exist any more.
async fn until_gone<K>(api: &Api<K>, name: &str)
where
    K: kube::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + 'static,
{
    let events = watcher(
        api.clone(),
        watcher::Config::default().fields(&format!("metadata.name={name}")),
    );
    tokio::pin!(events);
    let wait = async {
        let mut there = false;
        loop {
            match events.next().await.unwrap() {
                Ok(Watched::InitApply(_)) => there = true,
                Ok(Watched::InitDone) if !there => return,
                Ok(Watched::Delete(_)) => return,
                _ => {}
            }
        }
    };
    tokio::time::timeout(TIMEOUT, wait).await.unwrap();
}

/// Starts a simulation for one namespace; it ends with the guard.
fn simulate(client: &Client, namespace: &str) -> DropGuard {
    simulate_on(client, namespace, Vec::new())
}

/// The same on these nodes.
fn simulate_on(client: &Client, namespace: &str, machines: Vec<Machine>) -> DropGuard {
    let shutdown = CancellationToken::new();
    let options = Options {
        machines,
        namespace: Some(namespace.to_owned()),
        node_prefix: namespace.to_owned(),
        collect_garbage: true,
        ..Options::default()
    };
    tokio::spawn(run(client.clone(), options, shutdown.clone()));
    shutdown.drop_guard()
}

fn pod(name: &str, annotations: &[(&str, &str)], spec: &Value) -> Pod {
    let prefixed = annotations
        .iter()
        .map(|(k, v)| (format!("sim.wsman.dev/{k}"), *v));
    let mut merged = json!({
        "restartPolicy": "Never",
        "containers": [{ "name": "main", "image": "img" }],
    });
    for (key, value) in spec.as_object().unwrap() {
        merged[key] = value.clone();
    }
    serde_json::from_value(json!({
        "metadata": { "name": name, "annotations": prefixed.collect::<BTreeMap<_, _>>() },
        "spec": merged,
    }))
    .unwrap()
}

/// Waits for a Warning event of this reason about a pod.
async fn await_event(client: &Client, namespace: &str, pod: &str, reason: &str) {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let selector = format!("involvedObject.name={pod},type=Warning,reason={reason}");
    let events = watcher(api, watcher::Config::default().fields(&selector));
    let found = events.filter_map(async |event| match event {
        Ok(Watched::Apply(event) | Watched::InitApply(event)) => Some(event),
        _ => None,
    });
    tokio::pin!(found);
    let found = tokio::time::timeout(TIMEOUT, found.next()).await;
    assert!(found.is_ok(), "no event {reason} about {pod}");
}
