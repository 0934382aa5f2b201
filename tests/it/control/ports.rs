//! Ports: published on the stream, served by a Service that follows the pod's mark, whatever happens in between.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use serde_json::json;
use tonic::Code;
use tonic_types::StatusExt;
use wsman::proto::wsman::*;
use wsman_sim::apiserver::faults::Fault;

use super::{annotation, running};
use crate::support::cluster::{self, Cluster};
use crate::support::world::{TIMEOUT, Updates, World, request};

on_both_clusters! {
    ports_are_published_and_served
    fifty_callers_change_the_ports_of_one_workspace
    a_ports_service_that_was_removed_or_changed_is_put_right
    services_follow_a_mark_that_lost_its_writer
    what_belongs_to_another_is_not_touched
    a_port_that_maps_needs_a_cluster_ip_and_only_that_one
}

fn control(id: &str, expose: bool, port: u32) -> ControlPortRequest {
    ControlPortRequest {
        id: id.to_owned(),
        expose,
        spec: Some(PortSpec {
            port,
            ..Default::default()
        }),
    }
}

fn public(mut request: ControlPortRequest) -> ControlPortRequest {
    let spec = request.spec.as_mut().unwrap();
    spec.set_visibility(PortVisibility::Public);
    request
}

async fn change(world: &World, request: ControlPortRequest) {
    world.client.clone().control_port(request).await.unwrap();
}

/// Names of the ports of a status or of a Service, as a Service names them.
fn published(status: &WorkspaceStatus) -> Vec<String> {
    let ports = status.spec.as_ref().unwrap().exposed_ports.iter();
    let name = |port: &PortSpec| match port.visibility() {
        PortVisibility::Public => format!("p{}-public", port.port),
        PortVisibility::Private => format!("p{}-private", port.port),
    };
    ports.map(name).collect()
}

fn served(service: &Service) -> Vec<String> {
    let ports = service.spec.as_ref().unwrap().ports.iter().flatten();
    ports.map(|port| port.name.clone().unwrap()).collect()
}

async fn service(cluster: &Cluster, name: &str) -> Option<Service> {
    cluster.api::<Service>().await.get_opt(name).await.unwrap()
}

/// Waits until a Service has exactly these ports.
async fn serves(cluster: &Cluster, name: &str, ports: &[&str]) {
    let api = cluster.api::<Service>().await;
    let condition = |service: Option<&Service>| service.is_some_and(|s| served(s) == ports);
    let waits = await_condition(api, name, condition);
    let there = tokio::time::timeout(TIMEOUT, waits).await;
    if !there.is_ok_and(|waited| waited.is_ok()) {
        let now = service(cluster, name).await;
        panic!("{name} does not serve {ports:?}: {now:?}");
    }
}

/// Reads until a workspace has these ports.
async fn until_ports(updates: &mut Updates, ports: &[&str]) -> WorkspaceStatus {
    loop {
        let status = updates.next().await.unwrap();
        if published(&status) == ports {
            return status;
        }
    }
}

async fn ports_are_published_and_served(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("web")).await;
    let name = "ws-p-web-ports";
    let now = async || served(&service(cluster, name).await.unwrap());

    let mut https = public(control("web", true, 3000));
    https
        .spec
        .as_mut()
        .unwrap()
        .set_protocol(PortProtocol::Https);
    change(&world, https).await;
    // The Service is right when the call returns.
    assert_eq!(now().await, ["p8080-private", "p3000-public"]);
    let status = until_ports(&mut updates, &["p8080-private", "p3000-public"]).await;
    let port = &status.spec.unwrap().exposed_ports[1];
    assert_eq!(port.url, "http://3000-p-web.ws.localhost");
    assert_eq!(port.protocol(), PortProtocol::Https);
    let ports = service(cluster, name).await.unwrap().spec.unwrap().ports;
    let protocols = ports.unwrap().into_iter().map(|port| port.app_protocol);
    assert_eq!(
        protocols.collect::<Vec<_>>(),
        [None, Some("https".to_owned())]
    );

    change(&world, public(control("web", true, 8080))).await;
    assert_eq!(now().await, ["p8080-public", "p3000-public"]);
    until_ports(&mut updates, &["p8080-public", "p3000-public"]).await;

    change(&world, control("web", false, 8080)).await;
    assert_eq!(now().await, ["p3000-public"]);
    let before = until_ports(&mut updates, &["p3000-public"]).await;

    // An unchanged value is not written.
    change(&world, control("web", false, 8080)).await;
    let status = world.describe("web").await.unwrap();
    assert_eq!(status.status_version, before.status_version);

    change(&world, control("web", false, 3000)).await;
    cluster.gone::<Service>(name).await;
    until_ports(&mut updates, &[]).await;
    assert_eq!(
        annotation(cluster, "ws-web", "gitpod/exposedPorts").await,
        None
    );
    assert!(service(cluster, "ws-p-web-ide").await.is_some());

    change(&world, control("web", true, 1)).await;
    assert_eq!(now().await, ["p1-private"]);
    until_ports(&mut updates, &["p1-private"]).await;

    world.stop_workspace("web").await;
    updates.until("web", WorkspacePhase::Stopping).await;
    let late = world
        .client
        .clone()
        .control_port(control("web", true, 2))
        .await;
    let code = late.unwrap_err().code();
    assert!(
        matches!(code, Code::FailedPrecondition | Code::NotFound),
        "{code:?}"
    );
    world.drain().await.unwrap();
}

async fn fifty_callers_change_the_ports_of_one_workspace(cluster: &Cluster) {
    let world = World::start(cluster).await;
    // While it starts, the kubelet changes the pod too.
    world.start_workspace("busy").await;
    let calls = (1..=50).map(|port| change(&world, control("busy", true, port)));
    futures::future::join_all(calls).await;
    let mut published = published(&world.describe("busy").await.unwrap());
    let there = service(cluster, "ws-p-busy-ports").await.unwrap();
    assert_eq!(served(&there), published);
    published.sort();
    let mut expected: Vec<_> = (1..=50).map(|port| format!("p{port}-private")).collect();
    expected.push("p8080-private".to_owned());
    expected.sort();
    assert_eq!(published, expected);
    world.drain().await.unwrap();
}

async fn a_ports_service_that_was_removed_or_changed_is_put_right(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("kept")).await;
    let name = "ws-p-kept-ports";
    world.clock.advance(Duration::from_secs(60));
    let services = cluster.api::<Service>().await;
    services
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
    serves(cluster, name, &["p8080-private"]).await;

    let others = json!({ "spec": { "ports": [{ "name": "mine", "port": 99 }] } });
    let patch = Patch::Merge(others);
    services
        .patch(name, &PatchParams::default(), &patch)
        .await
        .unwrap();
    serves(cluster, name, &["p8080-private"]).await;
    world.drain().await.unwrap();
}

async fn services_follow_a_mark_that_lost_its_writer(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("first")).await;
    running(&world, &mut updates, request("second")).await;
    change(&world, public(control("first", true, 8080))).await;
    let pods = cluster.api::<Pod>().await;
    let mark = async |pod: &str, value: Option<String>| {
        let mark = json!({ "metadata": { "annotations": { "gitpod/exposedPorts": value } } });
        let patch = Patch::Merge(mark);
        pods.patch(pod, &PatchParams::default(), &patch)
            .await
            .unwrap();
    };
    // As after a daemon that dies between the mark and the Service: one changed, one without ports.
    let changed = annotation(cluster, "ws-first", "gitpod/exposedPorts").await;
    mark("ws-second", changed).await;
    mark("ws-first", None).await;
    world.clock.advance(Duration::from_secs(60));
    serves(cluster, "ws-p-second-ports", &["p8080-public"]).await;
    cluster.gone::<Service>("ws-p-first-ports").await;
    world.drain().await.unwrap();
}

async fn a_port_that_maps_needs_a_cluster_ip_and_only_that_one(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("maps")).await;
    let name = "ws-p-maps-ports";
    cluster.appears::<Service>(name).await;
    let ide = cluster.appears::<Service>("ws-p-maps-ide").await;
    let address = async || {
        let spec = service(cluster, name).await.unwrap().spec.unwrap();
        spec.cluster_ip.unwrap()
    };
    assert_eq!(address().await, "None");
    assert_eq!(
        ide.spec.as_ref().unwrap().cluster_ip.as_ref().unwrap(),
        "None"
    );

    let mut maps = control("maps", true, 80);
    maps.spec.as_mut().unwrap().target = 8080;
    change(&world, maps).await;
    let status = until_ports(&mut updates, &["p8080-private", "p80-private"]).await;
    assert_eq!(status.spec.unwrap().exposed_ports[1].target, 8080);
    let mapped = address().await;
    assert!(mapped.parse::<std::net::IpAddr>().is_ok(), "{mapped}");
    let there = service(cluster, name).await.unwrap();
    let targets = there.spec.unwrap().ports.unwrap().into_iter();
    let targets: Vec<_> = targets.map(|port| port.target_port.unwrap()).collect();
    assert_eq!(targets, [IntOrString::Int(8080), IntOrString::Int(8080)]);

    // It keeps its address: a Service that works stays.
    change(&world, control("maps", false, 80)).await;
    assert_eq!(
        served(&service(cluster, name).await.unwrap()),
        ["p8080-private"]
    );
    assert_eq!(address().await, mapped);
    let after = service(cluster, "ws-p-maps-ide").await.unwrap();
    assert_eq!(after.metadata.uid, ide.metadata.uid);
    world.drain().await.unwrap();
}

async fn what_belongs_to_another_is_not_touched(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut without = request("mine");
    without.spec.as_mut().unwrap().ports.clear();
    world.client.clone().start_workspace(without).await.unwrap();
    let name = "ws-p-mine-ports";
    let foreign: Service = serde_json::from_value(json!({
        "metadata": { "name": name },
        "spec": { "ports": [{ "name": "theirs", "port": 99 }] },
    }))
    .unwrap();
    let services = cluster.api::<Service>().await;
    services
        .create(&PostParams::default(), &foreign)
        .await
        .unwrap();
    let taken = world
        .client
        .clone()
        .control_port(control("mine", true, 1))
        .await;
    let taken = taken.unwrap_err();
    assert_eq!(taken.code(), Code::FailedPrecondition, "{taken}");
    let info = taken.get_details_error_info().unwrap();
    assert_eq!(info.metadata["state"], "NAME_IN_USE");
    change(&world, control("mine", false, 1)).await;
    assert_eq!(served(&service(cluster, name).await.unwrap()), ["theirs"]);
    world.drain().await.unwrap();
}

/// The writes of the daemon to Services.
fn service_writes(cluster: &Cluster) -> Vec<String> {
    let requests = cluster.server.as_ref().unwrap().faults().requests();
    let ours = requests.into_iter().filter(|request| {
        request.is_write()
            && request.user_agent.starts_with("wsman/")
            && request.path.contains("/services")
    });
    ours.map(|request| format!("{} {}", request.method, request.path))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_daemon_that_dies_between_mark_and_service_loses_nothing() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("cut")).await;
    let name = "ws-p-cut-ports";
    let faults = cluster.server.as_ref().unwrap().faults();
    faults.add("PATCH", "/services/", 1, Fault::Hang);
    let mut call = world.client.clone();
    let call = tokio::spawn(async move {
        let request = control("cut", true, 1);
        call.control_port(request).await
    });
    until_ports(&mut updates, &["p8080-private", "p1-private"]).await;
    world.kill().await;
    call.abort();
    assert_eq!(
        served(&service(&cluster, name).await.unwrap()),
        ["p8080-private"]
    );
    faults.clear();
    faults.record();
    let world = World::start(&cluster).await;
    // Another client may still be at it.
    assert_eq!(service_writes(&cluster), Vec::<String>::new());
    world.clock.advance(Duration::from_secs(60));
    serves(&cluster, name, &["p8080-private", "p1-private"]).await;
    assert_eq!(service_writes(&cluster).len(), 1);
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_was_cut_short_is_finished_by_the_same_call() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("again")).await;
    let refused = Fault::Status {
        code: 403,
        reason: "Forbidden".to_owned(),
        message: "not now".to_owned(),
        retry_after: None,
    };
    let faults = cluster.server.as_ref().unwrap().faults();
    faults.add("PATCH", "/services/", 1, refused);
    let request = control("again", true, 1);
    let failed = world.client.clone().control_port(request.clone()).await;
    assert_eq!(failed.unwrap_err().code(), Code::PermissionDenied);
    let before = world.describe("again").await.unwrap();
    assert!(before.message.contains("not now"), "{before:?}");
    change(&world, request).await;
    let there = service(&cluster, "ws-p-again-ports").await.unwrap();
    assert_eq!(served(&there), ["p8080-private", "p1-private"]);
    let after = world.describe("again").await.unwrap();
    assert_eq!(after.message, "");
    assert_eq!(
        published(&before),
        published(&after),
        "the pod was marked already"
    );
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_conflict_is_read_again_and_at_last_given_up() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("hot")).await;
    let conflict = || Fault::Status {
        code: 409,
        reason: "Conflict".to_owned(),
        message: "the object has been modified".to_owned(),
        retry_after: None,
    };
    let faults = cluster.server.as_ref().unwrap().faults();
    faults.add("PATCH", "/pods/ws-hot", 4, conflict());
    change(&world, control("hot", true, 1)).await;
    faults.add("PATCH", "/pods/ws-hot", 5, conflict());
    let given_up = world
        .client
        .clone()
        .control_port(control("hot", true, 2))
        .await;
    let given_up = given_up.unwrap_err();
    assert_eq!(given_up.code(), Code::Aborted, "{given_up}");
    let info = given_up.get_details_error_info().unwrap();
    assert_eq!(info.reason, "CONFLICT");
    let now = published(&world.describe("hot").await.unwrap());
    assert_eq!(now, ["p8080-private", "p1-private"]);
    // A write whose response is lost was made, and is not repeated.
    faults.add("PATCH", "/pods/ws-hot", 1, Fault::CutAfter);
    change(&world, control("hot", true, 2)).await;
    let now = published(&world.describe("hot").await.unwrap());
    assert_eq!(now, ["p8080-private", "p1-private", "p2-private"]);
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_services_none_is_touched() {
    let cluster = cluster::embedded().await;
    let world = World::start_with(cluster.client().await, &cluster.namespace, |config| {
        config["manager"]["services"] = false.into();
    })
    .await;
    let faults = cluster.server.as_ref().unwrap().faults();
    faults.record();
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("bare")).await;
    change(&world, control("bare", true, 1)).await;
    change(&world, control("bare", false, 1)).await;
    world.clock.advance(Duration::from_secs(60));
    change(&world, control("bare", true, 2)).await;
    until_ports(&mut updates, &["p2-private"]).await;
    assert_eq!(service_writes(&cluster), Vec::<String>::new());
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_of_another_kind_are_left_alone_while_they_work() {
    let cluster = cluster::embedded().await;
    let kind = async |kind: serde_json::Value| {
        let client = cluster.client().await;
        World::start_with(client, &cluster.namespace, |config| {
            config["manager"]["services"] = kind;
        })
        .await
    };
    let headless = async |id: &str| {
        let ide = cluster.appears::<Service>(&format!("ws-p-{id}-ide")).await;
        ide.spec.unwrap().cluster_ip.as_deref() == Some("None")
    };
    let world = kind("clusterIP".into()).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("old")).await;
    cluster.appears::<Service>("ws-p-old-ports").await;
    assert!(!headless("old").await);
    world.drain().await.unwrap();

    let world = kind(true.into()).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("new")).await;
    cluster.appears::<Service>("ws-p-new-ports").await;
    assert!(headless("new").await);
    let faults = cluster.server.as_ref().unwrap().faults();
    faults.record();
    world.clock.advance(Duration::from_secs(60));
    running(&world, &mut updates, request("barrier")).await;
    cluster.appears::<Service>("ws-p-barrier-ports").await;
    let mut made = service_writes(&cluster);
    made.retain(|write| !write.starts_with("POST"));
    assert_eq!(made, [""; 0], "the old ones are left alone");
    assert!(!headless("old").await);
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_ports_than_a_service_can_have_are_refused() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut full = request("full");
    let port = |port| PortSpec {
        port,
        ..Default::default()
    };
    full.spec.as_mut().unwrap().ports = (1..=101).map(port).collect();
    let refused = world.client.clone().start_workspace(full.clone()).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    full.spec.as_mut().unwrap().ports.pop();
    world.client.clone().start_workspace(full).await.unwrap();
    let refused = world
        .client
        .clone()
        .control_port(control("full", true, 101))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    change(&world, control("full", false, 1)).await;
    change(&world, control("full", true, 101)).await;
    world.drain().await.unwrap();
}
