//! Stories of whole workspaces, through the gRPC port, on the embedded cluster and on a real API server.

use k8s_openapi::api::core::v1::{Pod, Secret, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use tonic::Code;
use wsman::proto::wsman::*;

use super::support::cluster::Cluster;
use super::support::world::{World, request};

on_both_clusters! {
    a_workspace_starts_runs_and_stops
    its_objects_match_the_contract
    two_hundred_workspaces_at_once
    a_hundred_equal_starts_make_one_pod
    another_request_under_the_same_id_is_refused
    a_start_can_wait_for_running
    a_failed_start_stops_by_itself_with_its_reason
    a_stop_while_pending_ends_the_workspace
    an_abort_is_published_as_one
    a_pod_removed_from_outside_ends_its_workspace
    filters_select_what_is_listed_and_streamed
    activity_is_recorded_and_costs_one_write
    a_missing_workspace_is_not_found
    a_drain_ends_streams_without_error
}

async fn a_workspace_starts_runs_and_stops(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;

    let started = world.start_workspace("one").await;
    assert_eq!(started.owner_token.len(), 32);
    assert!(started.url.starts_with("http://"), "{}", started.url);
    let running = updates.until("one", WorkspacePhase::Running).await;
    assert_eq!(updates.phases("one"), ["PENDING", "CREATING", "RUNNING"]);
    assert_eq!(
        running.auth.as_ref().unwrap().owner_token,
        started.owner_token
    );
    assert_eq!(running.spec.as_ref().unwrap().url, started.url);
    assert_eq!(world.describe("one").await.unwrap(), running);

    world.stop_workspace("one").await;
    updates.until("one", WorkspacePhase::Stopped).await;
    assert_eq!(
        updates.phases("one"),
        ["PENDING", "CREATING", "RUNNING", "STOPPING", "STOPPED"]
    );
    cluster.gone::<Pod>("ws-one").await;
    let left = world.list().await;
    assert!(
        left.iter()
            .all(|status| status.phase() == WorkspacePhase::Stopped),
        "{left:?}"
    );

    // A new pod under the same id is a new start.
    world.start_workspace("one").await;
    drop(updates);
    let again = world
        .subscribe()
        .await
        .until("one", WorkspacePhase::Running)
        .await;
    assert!(again.status_version > running.status_version);
    world.drain().await.unwrap();
}

async fn its_objects_match_the_contract(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let started = world.start_workspace("things").await;
    let pod: Pod = cluster.api().await.get("ws-things").await.unwrap();
    let (labels, annotations) = (
        pod.metadata.labels.unwrap(),
        pod.metadata.annotations.unwrap(),
    );
    for (key, value) in [
        ("app", "gitpod"),
        ("component", "workspace"),
        ("workspaceID", "things"),
        ("owner", "jane"),
        ("metaID", "m-things"),
        ("workspaceType", "regular"),
        ("gpwsman", "true"),
    ] {
        assert_eq!(labels[key], value, "label {key}");
    }
    for (key, value) in [
        ("gitpod/id", "things"),
        ("gitpod/servicePrefix", "p-things"),
        ("gitpod/url", started.url.as_str()),
        ("gitpod/ownerToken", started.owner_token.as_str()),
        ("gitpod.io/annotation.team", "blue"),
        ("gitpod.io/alreadyInitializing", "true"),
    ] {
        assert_eq!(annotations[key], value, "annotation {key}");
    }
    assert!(!annotations.contains_key("gitpod.io/attemptingToCreate"));
    assert_eq!(pod.metadata.finalizers.unwrap(), ["gitpod.io/finalizer"]);
    let owned = |owners: Option<Vec<_>>| {
        owners.unwrap_or_default().iter().any(
            |owner: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference| {
                Some(&owner.uid) == pod.metadata.uid.as_ref()
            },
        )
    };
    let secret: Secret = cluster.api().await.get("ws-things").await.unwrap();
    assert!(owned(secret.metadata.owner_references));
    assert!(
        secret
            .data
            .unwrap()
            .values()
            .any(|value| value.0 == b"hello"),
        "protected variables are in the Secret"
    );
    assert!(
        !serde_json::to_string(&pod.spec).unwrap().contains("hello"),
        "and nowhere else"
    );
    for (name, port) in [("ws-p-things-ide", 23000), ("ws-p-things-ports", 8080)] {
        let service = cluster.appears::<Service>(name).await;
        assert!(
            service
                .spec
                .unwrap()
                .ports
                .unwrap()
                .iter()
                .any(|p| p.port == port),
            "{name}"
        );
        assert!(owned(service.metadata.owner_references), "{name}");
    }
    world.drain().await.unwrap();
}

async fn two_hundred_workspaces_at_once(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    let ids: Vec<_> = (0..200).map(|n| format!("many-{n}")).collect();
    let starts = ids.iter().map(|id| world.start_workspace(id));
    futures::future::join_all(starts).await;
    assert_eq!(
        world.list().await.len(),
        200,
        "everything that was accepted is listed"
    );
    all_in(&mut updates, &ids, WorkspacePhase::Running).await;
    let stops = ids.iter().map(|id| world.stop_workspace(id));
    futures::future::join_all(stops).await;
    all_in(&mut updates, &ids, WorkspacePhase::Stopped).await;
    let pods = cluster.api::<Pod>().await;
    for id in &ids {
        cluster.gone::<Pod>(&format!("ws-{id}")).await;
    }
    assert_eq!(
        pods.list(&ListParams::default().labels("gpwsman=true"))
            .await
            .unwrap()
            .items
            .len(),
        0
    );
    world.drain().await.unwrap();
}

/// Reads until every workspace was seen in a phase.
async fn all_in(
    updates: &mut super::support::world::Updates,
    ids: &[String],
    phase: WorkspacePhase,
) {
    let mut waiting: std::collections::HashSet<&str> = ids.iter().map(String::as_str).collect();
    while !waiting.is_empty() {
        let status = updates.next().await.expect("the stream goes on");
        if status.phase() == phase {
            waiting.remove(status.id.as_str());
        }
    }
}

async fn a_hundred_equal_starts_make_one_pod(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let starts = (0..100).map(|_| world.start_workspace("same"));
    let answers = futures::future::join_all(starts).await;
    assert!(
        answers.iter().all(|answer| answer == &answers[0]),
        "the same answer for all"
    );
    let pods = cluster
        .api::<Pod>()
        .await
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(pods.items.len(), 1);
    world.drain().await.unwrap();
}

async fn another_request_under_the_same_id_is_refused(cluster: &Cluster) {
    let world = World::start(cluster).await;
    world.start_workspace("taken").await;
    let mut other = request("taken");
    other.spec.as_mut().unwrap().workspace_image = "another:1".to_owned();
    let refused = world
        .client
        .clone()
        .start_workspace(other)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::AlreadyExists, "{refused}");
    let mut headless = request("taken");
    headless.r#type = WorkspaceType::Prebuild.into();
    let refused = world
        .client
        .clone()
        .start_workspace(headless)
        .await
        .unwrap_err();
    assert_eq!(
        refused.code(),
        Code::AlreadyExists,
        "an id is taken whatever its type: {refused}"
    );
    world.drain().await.unwrap();
}

async fn a_start_can_wait_for_running(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut waiting = tonic::Request::new(request("patient"));
    waiting
        .metadata_mut()
        .insert("wsman-wait", "running".parse().unwrap());
    world.client.clone().start_workspace(waiting).await.unwrap();
    assert_eq!(
        world.describe("patient").await.unwrap().phase(),
        WorkspacePhase::Running
    );
    let mut failing = tonic::Request::new(misbehaving("doomed", "image-pull-error"));
    failing
        .metadata_mut()
        .insert("wsman-wait", "running".parse().unwrap());
    let failed = world
        .client
        .clone()
        .start_workspace(failing)
        .await
        .unwrap_err();
    assert_eq!(failed.code(), Code::FailedPrecondition, "{failed}");
    assert!(failed.message().contains("cannot pull image"), "{failed}");
    world.drain().await.unwrap();
}

async fn a_failed_start_stops_by_itself_with_its_reason(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    let failing = misbehaving("broken", "image-pull-error");
    world.client.clone().start_workspace(failing).await.unwrap();
    let stopped = updates.until("broken", WorkspacePhase::Stopped).await;
    assert!(stopped.conditions.unwrap().failed.contains("no such image"));
    assert!(!updates.phases("broken").contains(&"RUNNING"));
    world.drain().await.unwrap();
}

async fn a_stop_while_pending_ends_the_workspace(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    let stuck = misbehaving("stuck", "unschedulable");
    world.client.clone().start_workspace(stuck).await.unwrap();
    updates.until("stuck", WorkspacePhase::Pending).await;
    world.stop_workspace("stuck").await;
    updates.until("stuck", WorkspacePhase::Stopped).await;
    cluster.gone::<Pod>("ws-stuck").await;
    world.drain().await.unwrap();
}

async fn an_abort_is_published_as_one(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    world.start_workspace("aborted").await;
    updates.until("aborted", WorkspacePhase::Running).await;
    let abort = StopWorkspaceRequest {
        id: "aborted".to_owned(),
        policy: StopWorkspacePolicy::Abort.into(),
    };
    world.client.clone().stop_workspace(abort).await.unwrap();
    let conditions = updates
        .until("aborted", WorkspacePhase::Stopped)
        .await
        .conditions
        .unwrap();
    assert_eq!(conditions.aborted(), WorkspaceConditionBool::True);
    assert_eq!(
        conditions.stopped_by_request(),
        WorkspaceConditionBool::True
    );
    world.drain().await.unwrap();
}

async fn a_pod_removed_from_outside_ends_its_workspace(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    world.start_workspace("outside").await;
    updates.until("outside", WorkspacePhase::Running).await;
    cluster
        .api::<Pod>()
        .await
        .delete("ws-outside", &DeleteParams::default())
        .await
        .unwrap();
    updates.until("outside", WorkspacePhase::Stopped).await;
    cluster.gone::<Pod>("ws-outside").await;

    // Even if the finalizer is removed and the pod force deleted.
    world.start_workspace("forced").await;
    updates.until("forced", WorkspacePhase::Running).await;
    let unheld = serde_json::json!({ "metadata": { "finalizers": null } });
    let pods = cluster.api::<Pod>().await;
    pods.patch("ws-forced", &PatchParams::default(), &Patch::Merge(unheld))
        .await
        .unwrap();
    pods.delete("ws-forced", &DeleteParams::default().grace_period(0))
        .await
        .unwrap();
    updates.until("forced", WorkspacePhase::Stopped).await;
    // STOPPED is published before the pod is deleted, and until then the pod is listed as STOPPED.
    let left = world.list().await;
    assert!(
        left.iter()
            .all(|status| status.phase() == WorkspacePhase::Stopped),
        "{left:?}"
    );
    world.drain().await.unwrap();
}

async fn filters_select_what_is_listed_and_streamed(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let ours = Some(MetadataFilter {
        meta_id: "m-mine".to_owned(),
        ..Default::default()
    });
    let mut updates = world.subscribe_to(ours.clone()).await;
    world.start_workspace("other").await;
    world.start_workspace("mine").await;
    updates.until("mine", WorkspacePhase::Running).await;
    assert!(updates.seen.iter().all(|status| status.id == "mine"));
    for (filter, expected) in [
        (ours, vec!["mine"]),
        (
            Some(MetadataFilter {
                owner: "jane".to_owned(),
                ..Default::default()
            }),
            vec!["mine", "other"],
        ),
        (
            Some(MetadataFilter {
                owner: "unknown".to_owned(),
                ..Default::default()
            }),
            vec![],
        ),
        (
            Some(MetadataFilter {
                annotations: [("team".to_owned(), "blue".to_owned())].into(),
                ..Default::default()
            }),
            vec!["mine", "other"],
        ),
    ] {
        let request = GetWorkspacesRequest { must_match: filter };
        let listed = world
            .client
            .clone()
            .get_workspaces(request)
            .await
            .unwrap()
            .into_inner()
            .status;
        let mut ids: Vec<_> = listed.iter().map(|status| status.id.as_str()).collect();
        ids.sort_unstable();
        assert_eq!(ids, expected);
    }
    world.drain().await.unwrap();
}

async fn activity_is_recorded_and_costs_one_write(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    world.start_workspace("lively").await;
    let running = updates.until("lively", WorkspacePhase::Running).await;
    let beat = |closed| MarkActiveRequest {
        id: "lively".to_owned(),
        closed,
        ignore_if_active: false,
    };
    world.client.clone().mark_active(beat(false)).await.unwrap();
    let first = updates.next().await.unwrap();
    assert!(first.conditions.unwrap().first_user_activity.is_some());
    for _ in 0..50 {
        world.client.clone().mark_active(beat(false)).await.unwrap();
    }
    let marked = world.describe("lively").await.unwrap();
    assert_eq!(
        marked.status_version, first.status_version,
        "a heartbeat writes nothing"
    );
    assert!(marked.status_version > running.status_version);
    let describe = DescribeWorkspaceRequest {
        id: "lively".to_owned(),
    };
    let described = world
        .client
        .clone()
        .describe_workspace(describe)
        .await
        .unwrap()
        .into_inner();
    assert!(
        described.last_activity.ends_with('Z'),
        "{}",
        described.last_activity
    );
    world.client.clone().mark_active(beat(true)).await.unwrap();
    let pod: Pod = cluster.api().await.get("ws-lively").await.unwrap();
    assert_eq!(pod.metadata.annotations.unwrap()["gitpod/closed"], "true");
    world.drain().await.unwrap();
}

async fn a_missing_workspace_is_not_found(cluster: &Cluster) {
    let world = World::start(cluster).await;
    assert_eq!(
        world.describe("unknown").await.unwrap_err().code(),
        Code::NotFound
    );
    let beat = MarkActiveRequest {
        id: "unknown".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        world
            .client
            .clone()
            .mark_active(beat)
            .await
            .unwrap_err()
            .code(),
        Code::NotFound
    );
    // Stopping a workspace that is gone succeeds.
    world.stop_workspace("unknown").await;
    world.drain().await.unwrap();
}

async fn a_drain_ends_streams_without_error(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(world.subscribe().await);
    }
    world.start_workspace("left").await;
    let (ended, _) = tokio::join!(world.drain(), async {
        for mut stream in streams {
            while stream.next().await.is_some() {}
        }
    });
    ended.unwrap();
    let pods = cluster
        .api::<Pod>()
        .await
        .list(&ListParams::default())
        .await
        .unwrap();
    assert_eq!(pods.items.len(), 1, "what was started stays");
}

/// A request for a workspace whose simulated kubelet misbehaves in the way of a class.
pub(crate) fn misbehaving(id: &str, class: &str) -> StartWorkspaceRequest {
    let mut request = request(id);
    request.spec.as_mut().unwrap().class = class.to_owned();
    request
}
