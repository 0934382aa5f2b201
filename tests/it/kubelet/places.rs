//! Where pods run: gates, labels, slots and pods that avoid each other.

use super::*;
use look::READY;

fn machine(namespace: &str, name: &str, pool: &str) -> Machine {
    let text = str::to_owned;
    Machine {
        name: format!("{namespace}-{name}"),
        labels: BTreeMap::from([(text("pool"), text(pool))]),
        capacity: BTreeMap::from([(text("example.com/slot"), text("1"))]),
    }
}

fn slot(pool: &str) -> Value {
    json!({
        "nodeSelector": { "pool": pool },
        "containers": [{ "name": "main", "image": "img", "resources": { "limits": { "example.com/slot": "1" } } }],
    })
}

/// The message of the scheduler about a pod that has no place.
fn refusal(pod: &Pod) -> Option<String> {
    let conditions = pod.status.clone()?.conditions?;
    let scheduled = conditions.into_iter().find(|c| c.type_ == "PodScheduled")?;
    scheduled
        .message
        .filter(|_| scheduled.reason.as_deref() == Some("Unschedulable"))
}

fn node(pod: &Pod) -> String {
    let spec = pod.spec.clone().unwrap();
    spec.node_name.unwrap()
}

async fn merge(api: &Api<Pod>, name: &str, patch: Value) {
    let patch = Patch::Merge(patch);
    api.patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_slot_is_held_until_its_pod_has_ended() {
    for cluster in clusters("a_slot_is_held_until_its_pod_has_ended").await {
        let client = cluster.client;
        let namespace = namespace(&client, "slots").await;
        let machines =
            ["a", "b"].map(|name| machine(&namespace, name, if name == "a" { "x" } else { "y" }));
        let _running = simulate_on(&client, &namespace, machines.to_vec());
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let create = |pod: Pod| {
            let api = api.clone();
            async move { api.create(&PostParams::default(), &pod).await.unwrap() }
        };
        create(pod("first", &[("stop-after", "1s")], &slot("x"))).await;
        let first = until(&api, "first", |pod| look(pod) == READY).await;
        assert_eq!(node(&first), format!("{namespace}-a"));
        create(pod("second", &[], &slot("x"))).await;
        let second = until(&api, "second", |pod| refusal(pod).is_some()).await;
        let why = "0/2 nodes are available: 1 Insufficient example.com/slot, 1 node(s) didn't match Pod's node affinity/selector. \
            preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.";
        assert_eq!(refusal(&second).unwrap(), why);
        // A finished pod is still there, and has left its slot.
        merge(
            &api,
            "first",
            json!({ "metadata": { "annotations": { "sim.wsman.dev/exit-after": "0" } } }),
        )
        .await;
        until(&api, "second", |pod| look(pod) == READY).await;
        assert_eq!(
            look(&api.get("first").await.unwrap()),
            "Succeeded terminated:Completed(0)"
        );
        // One that terminates holds it.
        create(pod("third", &[], &slot("x"))).await;
        until(&api, "third", |pod| refusal(pod).is_some()).await;
        merge(
            &api,
            "second",
            json!({ "metadata": { "annotations": { "sim.wsman.dev/stuck-terminating": "true" } } }),
        )
        .await;
        api.delete("second", &DeleteParams::default())
            .await
            .unwrap();
        create(pod("other", &[], &slot("y"))).await;
        until(&api, "other", |pod| look(pod) == READY).await;
        assert!(refusal(&api.get("third").await.unwrap()).is_some());
        merge(
            &api,
            "second",
            json!({ "metadata": { "annotations": { "sim.wsman.dev/stuck-terminating": null } } }),
        )
        .await;
        until(&api, "third", |pod| look(pod) == READY).await;
        until_gone(&api, "second").await;
    }
}

#[tokio::test]
async fn a_gated_pod_waits_and_then_avoids_its_like() {
    for cluster in clusters("a_gated_pod_waits_and_then_avoids_its_like").await {
        let client = cluster.client;
        let namespace = namespace(&client, "gates").await;
        let machines = ["a", "b"].map(|name| machine(&namespace, name, "x"));
        let _running = simulate_on(&client, &namespace, machines.to_vec());
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let gated = |name: &str| {
            let mut pod = pod(
                name,
                &[],
                &json!({
                    "schedulingGates": [{ "name": "example.com/queue" }],
                    "affinity": { "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
                        "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "gang": "one" } },
                    }] } },
                }),
            );
            pod.metadata.labels = Some(BTreeMap::from([("gang".to_owned(), "one".to_owned())]));
            pod
        };
        for name in ["one", "two", "three"] {
            let made = api
                .create(&PostParams::default(), &gated(name))
                .await
                .unwrap();
            let conditions = made.status.unwrap().conditions.unwrap();
            assert_eq!(conditions[0].reason.as_deref(), Some("SchedulingGated"));
        }
        let open = json!({ "spec": { "schedulingGates": null } });
        merge(&api, "one", open.clone()).await;
        let one = until(&api, "one", |pod| look(pod) == READY).await;
        // The others are still gated.
        assert_eq!(api.get("two").await.unwrap().spec.unwrap().node_name, None);
        merge(&api, "two", open.clone()).await;
        let two = until(&api, "two", |pod| look(pod) == READY).await;
        assert_ne!(node(&one), node(&two));
        merge(&api, "three", open).await;
        let three = until(&api, "three", |pod| refusal(pod).is_some()).await;
        let why = "0/2 nodes are available: 2 node(s) didn't match pod anti-affinity rules. \
            preemption: 0/2 nodes are available: 2 No preemption victims found for incoming pod.";
        assert_eq!(refusal(&three).unwrap(), why);
        api.delete("one", &DeleteParams::default()).await.unwrap();
        let three = until(&api, "three", |pod| look(pod) == READY).await;
        assert_eq!(node(&three), node(&one));
    }
}

#[tokio::test]
async fn a_pod_waits_for_the_company_of_another() {
    for cluster in clusters("a_pod_waits_for_the_company_of_another").await {
        let client = cluster.client;
        let namespace = namespace(&client, "company").await;
        let machines = ["a", "b"].map(|name| machine(&namespace, name, name));
        let _running = simulate_on(&client, &namespace, machines.to_vec());
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let affinity = json!({ "affinity": { "podAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [{
            "topologyKey": "kubernetes.io/hostname", "labelSelector": { "matchLabels": { "app": "host" } },
        }] } } });
        let guest = pod("guest", &[], &affinity);
        api.create(&PostParams::default(), &guest).await.unwrap();
        let alone = until(&api, "guest", |pod| refusal(pod).is_some()).await;
        assert!(
            refusal(&alone)
                .unwrap()
                .contains("2 node(s) didn't match pod affinity rules")
        );
        let mut host = pod("host", &[], &json!({ "nodeSelector": { "pool": "b" } }));
        host.metadata.labels = Some(BTreeMap::from([("app".to_owned(), "host".to_owned())]));
        api.create(&PostParams::default(), &host).await.unwrap();
        let guest = until(&api, "guest", |pod| look(pod) == READY).await;
        assert_eq!(node(&guest), format!("{namespace}-b"));
    }
}
