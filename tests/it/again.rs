//! Stories of pods that nodes reject and that are made again, and of maintenance.

mod interrupted;
mod maintenance;

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use tonic::Code;
use wsman::proto::wsman::*;

use super::scenarios::misbehaving;
use super::support::cluster::Cluster;
use super::support::world::{TIMEOUT, Updates, World, request};
use super::writes::served;

on_both_clusters! {
    a_rejected_pod_is_made_again_and_nobody_sees_an_end
    a_pod_that_is_always_rejected_fails_in_the_end
    a_stop_while_rejected_ends_the_workspace
    a_rejected_pod_that_somebody_deletes_is_not_made_again
    the_first_pod_stays_whoever_deletes_it
    a_pod_that_took_over_and_is_removed_by_force_ends_the_workspace
    a_pod_is_made_again_as_often_as_it_is_rejected
    without_retries_a_rejected_pod_is_a_failure
    two_daemons_make_it_again_together
    what_comes_too_late_is_cleared_away
}

/// Longer than the pause before a pod is made again.
const BACKOFF: Duration = Duration::from_secs(20);

/// Reads until a workspace waits for its pod to be made again, for the given time.
async fn rejected(updates: &mut Updates, id: &str, attempt: u32) -> WorkspaceStatus {
    loop {
        let status = updates.until(id, WorkspacePhase::Pending).await;
        if status.message.contains(&format!("attempt {attempt} of 3")) {
            return status;
        }
    }
}

async fn start(world: &World, id: &str, class: &str) -> StartWorkspaceResponse {
    let mut client = world.client.clone();
    let started = client.start_workspace(misbehaving(id, class)).await;
    started.unwrap().into_inner()
}

async fn a_rejected_pod_is_made_again_and_nobody_sees_an_end(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    let started = start(&world, "again", "rejected-once").await;
    let waiting = rejected(&mut updates, "again", 1).await;
    let why = "pod was rejected by its node (OutOfcpu) and is made again, attempt 1 of 3";
    assert_eq!(waiting.message, why);
    assert_eq!(waiting.conditions.unwrap().failed, "");
    let before = Belongings::of(cluster, "again").await;
    // The same start again is the same answer, and a listed workspace.
    assert_eq!(start(&world, "again", "rejected-once").await, started);
    assert_eq!(world.list().await.len(), 1);

    world.clock.advance(BACKOFF);
    let running = updates.until("again", WorkspacePhase::Running).await;
    let phases = updates.phases("again");
    assert_eq!(phases, ["PENDING", "CREATING", "RUNNING"]);
    let token = running.auth.unwrap().owner_token;
    assert_eq!(token, started.owner_token);
    let started_at = |status: &Option<WorkspaceMetadata>| status.as_ref().unwrap().started_at;
    assert_eq!(started_at(&running.metadata), started_at(&waiting.metadata));

    assert_eq!(running.runtime.unwrap().pod_name, "ws-again-2");
    before.kept(cluster, "again", 1).await;
    assert_eq!(start(&world, "again", "rejected-once").await, started);
    world.stop_workspace("again").await;
    updates.until("again", WorkspacePhase::Stopped).await;
    cluster.gone::<Pod>("ws-again-2").await;
    cluster.gone::<Pod>("ws-again").await;
    collected(cluster, "again").await;
    world.drain().await.unwrap();
}

async fn a_pod_that_is_always_rejected_fails_in_the_end(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    start(&world, "never", "rejected").await;
    for attempt in 1..=3 {
        rejected(&mut updates, "never", attempt).await;
        world.clock.advance(BACKOFF);
    }
    let stopped = updates.until("never", WorkspacePhase::Stopped).await;
    let failed = stopped.conditions.unwrap().failed;
    let why = "Pod reached maximum recreations 3, failing; OutOfcpu: Pod was rejected: ";
    assert!(failed.starts_with(why), "{failed}");
    let phases = updates.phases("never");
    assert_eq!(phases, ["PENDING", "UNKNOWN", "STOPPING", "STOPPED"]);
    cluster.gone::<Pod>("ws-never").await;
    collected(cluster, "never").await;
    world.drain().await.unwrap();
}

async fn a_stop_while_rejected_ends_the_workspace(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    start(&world, "enough", "rejected").await;
    rejected(&mut updates, "enough", 1).await;
    world.stop_workspace("enough").await;
    let stopped = updates.until("enough", WorkspacePhase::Stopped).await;
    let conditions = stopped.conditions.unwrap();
    assert_eq!(
        conditions.stopped_by_request(),
        WorkspaceConditionBool::True
    );
    assert_eq!(conditions.failed, "");
    world.clock.advance(BACKOFF);
    cluster.gone::<Pod>("ws-enough").await;
    collected(cluster, "enough").await;
    // The id is free again.
    let answer = world.start_workspace("enough").await;
    let running = updates_until_running(&world, "enough").await;
    assert_eq!(running.auth.unwrap().owner_token, answer.owner_token);
    world.drain().await.unwrap();
}

/// A stream of its own: what it tells of an id begins anew.
async fn updates_until_running(world: &World, id: &str) -> WorkspaceStatus {
    let mut updates = world.subscribe().await;
    match world.describe(id).await {
        Ok(status) if status.phase() == WorkspacePhase::Running => status,
        _ => updates.until(id, WorkspacePhase::Running).await,
    }
}

async fn a_rejected_pod_that_somebody_deletes_is_not_made_again(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    start(&world, "outside", "rejected").await;
    rejected(&mut updates, "outside", 1).await;
    let pods = cluster.api::<Pod>().await;
    let params = DeleteParams::default();
    pods.delete("ws-outside", &params).await.unwrap();
    updates.until("outside", WorkspacePhase::Stopped).await;
    world.clock.advance(BACKOFF);
    cluster.gone::<Pod>("ws-outside").await;
    collected(cluster, "outside").await;
    world.drain().await.unwrap();
}

/// Garbage collection deletes pods that have failed, and those of nodes that are gone.
async fn the_first_pod_stays_whoever_deletes_it(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    let started = start(&world, "kept", "rejected-once").await;
    rejected(&mut updates, "kept", 1).await;
    world.clock.advance(BACKOFF);
    updates.until("kept", WorkspacePhase::Running).await;
    handed_over(cluster, "kept").await;
    let pods = cluster.api::<Pod>().await;
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete("ws-kept", &at_once).await.unwrap();
    let first = pods.get("ws-kept").await.unwrap();
    assert!(first.metadata.deletion_timestamp.is_some());
    assert_eq!(start(&world, "kept", "rejected-once").await, started);
    // The next daemon finds it so.
    world.kill().await;
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    let found = world.describe("kept").await.unwrap();
    assert_eq!(found.phase(), WorkspacePhase::Running);
    assert_eq!(start(&world, "kept", "rejected-once").await, started);
    world.stop_workspace("kept").await;
    updates.until("kept", WorkspacePhase::Stopped).await;
    cluster.gone::<Pod>("ws-kept").await;
    collected(cluster, "kept").await;
    world.drain().await.unwrap();
}

async fn a_pod_that_took_over_and_is_removed_by_force_ends_the_workspace(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    start(&world, "robbed", "rejected-once").await;
    rejected(&mut updates, "robbed", 1).await;
    world.clock.advance(BACKOFF);
    updates.until("robbed", WorkspacePhase::Running).await;
    handed_over(cluster, "robbed").await;
    let pods = cluster.api::<Pod>().await;
    let unheld = serde_json::json!({"metadata": {"finalizers": null}});
    let (params, patch) = (PatchParams::default(), Patch::Merge(unheld));
    pods.patch("ws-robbed-2", &params, &patch).await.unwrap();
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete("ws-robbed-2", &at_once).await.unwrap();
    updates.until("robbed", WorkspacePhase::Stopped).await;
    cluster.gone::<Pod>("ws-robbed").await;
    collected(cluster, "robbed").await;
    assert!(world.describe("robbed").await.is_err());
    world.drain().await.unwrap();
}

async fn a_pod_is_made_again_as_often_as_it_is_rejected(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    start(&world, "third", "rejected").await;
    for attempt in 1..=3 {
        rejected(&mut updates, "third", attempt).await;
        world.clock.advance(BACKOFF);
        if attempt == 2 {
            // The second pod went when the third came.
            cluster.gone::<Pod>("ws-third-2").await;
        }
    }
    updates.until("third", WorkspacePhase::Stopped).await;
    for name in ["ws-third", "ws-third-3", "ws-third-4"] {
        cluster.gone::<Pod>(name).await;
    }
    world.drain().await.unwrap();
}

/// Waits until other programs find a workspace by its second pod alone.
async fn handed_over(cluster: &Cluster, id: &str) {
    let pods = cluster.api::<Pod>().await;
    let labels = ListParams::default().labels(&format!("workspaceID={id}"));
    let alone = async {
        loop {
            let found = pods.list(&labels).await.unwrap().items;
            let names: Vec<_> = found
                .iter()
                .filter_map(|p| p.metadata.name.as_deref())
                .collect();
            if names == [format!("ws-{id}-2")] {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(TIMEOUT, alone).await;
    waited.expect("the labels are handed over");
}

async fn without_retries_a_rejected_pod_is_a_failure(cluster: &Cluster) {
    let client = cluster.client().await;
    let world = World::start_with(client, &cluster.namespace, |config| {
        config["manager"]["podRecreationMaxRetries"] = 0.into();
    });
    let world = world.await;
    let mut updates = world.subscribe().await;
    start(&world, "once", "rejected").await;
    let stopped = updates.until("once", WorkspacePhase::Stopped).await;
    let failed = stopped.conditions.unwrap().failed;
    assert!(
        failed.starts_with("OutOfcpu: Pod was rejected: "),
        "{failed}"
    );
    world.drain().await.unwrap();
}

async fn two_daemons_make_it_again_together(cluster: &Cluster) {
    let worlds = [World::start(cluster).await, World::start(cluster).await];
    let mut streams = [worlds[0].subscribe().await, worlds[1].subscribe().await];
    let ids: Vec<_> = (0..8).map(|n| format!("both-{n}")).collect();
    let mut started = Vec::new();
    for id in &ids {
        started.push(start(&worlds[0], id, "rejected-once").await);
    }
    for id in &ids {
        waiting_in(&worlds[0], &mut streams[0], id).await;
        waiting_in(&worlds[1], &mut streams[1], id).await;
    }
    for world in &worlds {
        world.clock.advance(BACKOFF);
    }
    for stream in &mut streams {
        for id in &ids {
            if !stream.phases(id).contains(&"RUNNING") {
                stream.until(id, WorkspacePhase::Running).await;
            }
        }
        for id in &ids {
            let phases = stream.phases(id);
            assert!(
                !phases.contains(&"STOPPED") && !phases.contains(&"UNKNOWN"),
                "{phases:?}"
            );
        }
    }
    for (id, answer) in ids.iter().zip(&started) {
        handed_over(cluster, id).await;
        let pod: Pod = cluster
            .api()
            .await
            .get(&format!("ws-{id}-2"))
            .await
            .unwrap();
        let marks = pod.metadata.annotations.unwrap();
        assert_eq!(marks["wsman.dev/recreations"], "1", "{id}");
        assert_eq!(marks["gitpod/ownerToken"], answer.owner_token);
    }
    let pods = cluster.api::<Pod>().await;
    let left = pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(left.items.len(), 2 * ids.len());
    for world in worlds {
        world.drain().await.unwrap();
    }
}

async fn waiting_in(world: &World, updates: &mut Updates, id: &str) {
    let waits = |status: &WorkspaceStatus| status.message.contains("attempt 1 of 3");
    if updates.seen.iter().any(|seen| seen.id == id && waits(seen)) {
        return;
    }
    rejected(updates, id, 1).await;
    assert!(waits(&world.describe(id).await.unwrap()));
}

/// A daemon that was asleep in the middle of a step writes what nobody waits for any more.
async fn what_comes_too_late_is_cleared_away(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    start(&world, "late", "rejected").await;
    rejected(&mut updates, "late", 1).await;
    let pods = cluster.api::<Pod>().await;
    let rejected: Pod = pods.get("ws-late").await.unwrap();
    let raw = serde_json::to_value(&rejected).unwrap();
    let meta = &raw["metadata"];
    let (raw_labels, raw_marks) = (meta["labels"].clone(), meta["annotations"].clone());
    let uid = meta["uid"].clone();
    world.stop_workspace("late").await;
    updates.until("late", WorkspacePhase::Stopped).await;
    cluster.gone::<Pod>("ws-late").await;

    let mut late = raw;
    late["metadata"] = serde_json::json!({
        "name": "ws-late-2",
        "labels": raw_labels,
        "annotations": raw_marks,
        "finalizers": ["gitpod.io/finalizer"],
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "ws-late", "uid": uid}],
    });
    late["metadata"]["annotations"]["wsman.dev/first-uid"] = uid;
    late["metadata"]["annotations"]["wsman.dev/recreations"] = "1".into();
    late["status"] = serde_json::Value::Null;
    late["spec"]["nodeName"] = serde_json::Value::Null;
    let late: Pod = serde_json::from_value(late).unwrap();
    pods.create(&PostParams::default(), &late).await.unwrap();
    cluster.gone::<Pod>("ws-late-2").await;
    // Nobody heard of it.
    start(&world, "marker", "rejected").await;
    updates.until("marker", WorkspacePhase::Pending).await;
    let told = updates.phases("late");
    assert_eq!(told.last(), Some(&"STOPPED"), "{told:?}");
    assert!(world.describe("late").await.is_err());
    world.drain().await.unwrap();
}

/// What belongs to a workspace, by uid.
#[derive(Debug)]
struct Belongings(Vec<Option<String>>);

const SERVICES: [&str; 2] = ["ide", "ports"];

impl Belongings {
    async fn of(cluster: &Cluster, id: &str) -> Self {
        let (uids, _) = Self::read(cluster, id).await;
        assert!(uids.iter().all(Option::is_some));
        Self(uids)
    }

    async fn read(cluster: &Cluster, id: &str) -> (Vec<Option<String>>, Vec<Vec<OwnerReference>>) {
        let secrets = cluster.api::<Secret>().await;
        let secret = secrets.get(&format!("ws-{id}")).await.unwrap();
        let mut all = vec![secret.metadata];
        let services = cluster.api::<Service>().await;
        served(cluster, id).await;
        for kind in SERVICES {
            let service = services.get(&format!("ws-p-{id}-{kind}")).await;
            all.push(service.unwrap().metadata);
        }
        let owners = all
            .iter()
            .map(|m| m.owner_references.clone().unwrap_or_default());
        let owners = owners.collect();
        (all.into_iter().map(|m| m.uid).collect(), owners)
    }

    /// Checks that the same objects belong to the first pod, as the new one does, and to nobody else.
    async fn kept(&self, cluster: &Cluster, id: &str, recreations: u32) {
        let pods = cluster.api::<Pod>().await;
        let first = pods.get(&format!("ws-{id}")).await.unwrap();
        let uid = first.metadata.uid.unwrap();
        let name = format!("ws-{id}-{}", recreations + 1);
        let pod = pods.get(&name).await.unwrap();
        let marks = pod.metadata.annotations.unwrap();
        assert_eq!(marks["wsman.dev/recreations"], recreations.to_string());
        let owners = pod.metadata.owner_references.unwrap();
        assert_eq!(owners.iter().map(|o| &o.uid).collect::<Vec<_>>(), [&uid]);
        let (uids, owners) = Self::read(cluster, id).await;
        assert_eq!(uids, self.0, "the same objects");
        for owners in owners {
            let owners: Vec<_> = owners.iter().map(|owner| owner.uid.as_str()).collect();
            assert_eq!(owners, [uid.as_str()]);
        }
    }
}

/// Waits until nothing is left of a workspace.
async fn collected(cluster: &Cluster, id: &str) {
    cluster.gone::<Secret>(&format!("ws-{id}")).await;
    for kind in SERVICES {
        cluster.gone::<Service>(&format!("ws-p-{id}-{kind}")).await;
    }
}

async fn refused(world: &World, id: &str) -> tonic::Status {
    let refused = world.client.clone().start_workspace(request(id)).await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    refused
}
