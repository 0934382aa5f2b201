//! Stories of pods that nodes reject and that are made again, and of maintenance.

mod interrupted;
mod maintenance;

use std::time::Duration;

use futures::TryStreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams, PostParams, WatchParams};
use kube::core::WatchEvent;
use tonic::Code;
use wsman::proto::wsman::*;

use super::scenarios::misbehaving;
use super::support::cluster::Cluster;
use super::support::world::{Updates, World, request};
use super::writes::served;

on_both_clusters! {
    a_rejected_pod_is_made_again_and_nobody_sees_an_end
    a_pod_that_is_always_rejected_fails_in_the_end
    a_stop_while_rejected_ends_the_workspace
    a_rejected_pod_that_somebody_deletes_is_not_made_again
    a_record_that_somebody_deletes_ends_nothing_but_itself
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

    cluster.gone::<ConfigMap>("ws-again").await;
    before.passed_on(cluster, "again", 1).await;
    assert_eq!(start(&world, "again", "rejected-once").await, started);
    world.stop_workspace("again").await;
    updates.until("again", WorkspacePhase::Stopped).await;
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

async fn a_record_that_somebody_deletes_ends_nothing_but_itself(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    start(&world, "robbed", "rejected-once").await;
    rejected(&mut updates, "robbed", 1).await;
    let records = cluster.api::<ConfigMap>().await;
    let pods = cluster.api::<Pod>().await;
    // Somebody clears away every record as soon as it shows, once. It may be gone again by then.
    let before = records.list(&ListParams::default()).await.unwrap();
    let before = before.metadata.resource_version.unwrap();
    let clearing = async {
        let events = records.watch(&WatchParams::default(), &before).await;
        let mut events = std::pin::pin!(events.unwrap());
        let record = loop {
            match events.try_next().await.unwrap() {
                Some(WatchEvent::Added(map)) if map.name_any() == "ws-robbed" => break map,
                Some(_) => {}
                None => panic!("no record"),
            }
        };
        let _ = records.delete("ws-robbed", &DeleteParams::default()).await;
        record
    };
    world.clock.advance(BACKOFF);
    let (record, _) = tokio::join!(clearing, async {
        // Whenever that was, the workspace runs or has ended, and says so.
        loop {
            let status = updates.next().await.unwrap();
            if matches!(
                status.phase(),
                WorkspacePhase::Running | WorkspacePhase::Stopped
            ) {
                break;
            }
        }
    });
    assert_eq!(
        record.metadata.labels.unwrap()["wsman.dev/record"],
        "recreate"
    );
    if updates.phases("robbed").contains(&"RUNNING") {
        assert!(pods.get_opt("ws-robbed").await.unwrap().is_some());
    } else {
        cluster.gone::<Pod>("ws-robbed").await;
    }
    world.drain().await.unwrap();
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
        cluster.gone::<ConfigMap>(&format!("ws-{id}")).await;
        let pod: Pod = cluster.api().await.get(&format!("ws-{id}")).await.unwrap();
        let marks = pod.metadata.annotations.unwrap();
        assert_eq!(marks["wsman.dev/recreations"], "1", "{id}");
        assert_eq!(marks["gitpod/ownerToken"], answer.owner_token);
    }
    let pods = cluster.api::<Pod>().await;
    let left = pods.list(&ListParams::default()).await.unwrap();
    assert_eq!(left.items.len(), ids.len());
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
    world.stop_workspace("late").await;
    updates.until("late", WorkspacePhase::Stopped).await;
    cluster.gone::<Pod>("ws-late").await;

    let records = cluster.api::<ConfigMap>().await;
    let record = wsman::workspaces::recreate::record(&raw);
    let record: ConfigMap = serde_json::from_value(record).unwrap();
    // Where there is a garbage collector it may be faster.
    let made = records
        .create(&PostParams::default(), &record)
        .await
        .unwrap();
    cluster.gone::<ConfigMap>("ws-late").await;
    let mut stale = serde_json::to_value(&made).unwrap();
    stale["data"] = serde_json::to_value(&record.data).unwrap();
    let pod = wsman::workspaces::recreate::successor(&stale).unwrap();
    let pod: Pod = serde_json::from_value(pod).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    cluster.gone::<Pod>("ws-late").await;
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

    /// Checks that the same objects belong to the new pod now, and to nobody else.
    async fn passed_on(&self, cluster: &Cluster, id: &str, recreations: u32) {
        let pod: Pod = cluster.api().await.get(&format!("ws-{id}")).await.unwrap();
        let marks = pod.metadata.annotations.unwrap();
        assert_eq!(marks["wsman.dev/recreations"], recreations.to_string());
        assert_eq!(pod.metadata.owner_references, None);
        let (uids, owners) = Self::read(cluster, id).await;
        assert_eq!(uids, self.0, "the same objects");
        let uid = pod.metadata.uid.unwrap();
        for owners in owners {
            let owners: Vec<_> = owners.iter().map(|owner| owner.uid.as_str()).collect();
            assert_eq!(owners, [uid.as_str()]);
        }
    }
}

/// Waits until nothing is left of a workspace.
async fn collected(cluster: &Cluster, id: &str) {
    cluster.gone::<ConfigMap>(&format!("ws-{id}")).await;
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
