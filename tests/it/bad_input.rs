//! Requests that can never work: every violation is reported at once, by field, and nothing is written.

use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use tonic::Code;
use tonic_types::StatusExt;
use wsman::proto::wsman::*;

use super::support::cluster;
use super::support::world::{World, request};

/// An invalid request, and the fields that the error must name.
type Case = (
    &'static str,
    fn(&mut StartWorkspaceRequest),
    &'static [&'static str],
);

fn spec(request: &mut StartWorkspaceRequest) -> &mut StartWorkspaceSpec {
    request.spec.as_mut().unwrap()
}

fn metadata(request: &mut StartWorkspaceRequest) -> &mut WorkspaceMetadata {
    request.metadata.as_mut().unwrap()
}

fn env(name: &str, value: &str) -> EnvironmentVariable {
    EnvironmentVariable {
        name: name.to_owned(),
        value: value.to_owned(),
        secret: None,
    }
}

fn port(port: u32) -> PortSpec {
    PortSpec {
        port,
        ..Default::default()
    }
}

/// Makes a call and returns the fields in its error.
macro_rules! refused_fields {
    ($world:expr, $call:ident, $request:expr) => {{
        let status = $world.client.clone().$call($request).await.unwrap_err();
        let code = status.code();
        assert_eq!(
            code,
            Code::InvalidArgument,
            "{}: {status}",
            stringify!($call)
        );
        let bad = status.get_details_bad_request().unwrap();
        let fields = bad.field_violations.into_iter();
        fields.map(|violation| violation.field).collect::<Vec<_>>()
    }};
}

const CASES: &[Case] = &[
    ("no id", |r| r.id.clear(), &["id"]),
    (
        "selector syntax in the id",
        |r| r.id = "a,b=c".to_owned(),
        &["id"],
    ),
    ("a path in the id", |r| r.id = "../x".to_owned(), &["id"]),
    ("an id in capitals", |r| r.id = "UPPER".to_owned(), &["id"]),
    ("an id too long", |r| r.id = "x".repeat(254), &["id"]),
    (
        "look-alikes in the id",
        |r| r.id = "\u{430}bc".to_owned(),
        &["id"],
    ),
    ("NUL in the id", |r| r.id = "a\0b".to_owned(), &["id"]),
    (
        "no service prefix",
        |r| r.service_prefix.clear(),
        &["service_prefix"],
    ),
    ("no metadata", |r| r.metadata = None, &["metadata"]),
    ("no spec", |r| r.spec = None, &["spec"]),
    (
        "no image",
        |r| spec(r).workspace_image.clear(),
        &["spec.workspace_image"],
    ),
    (
        "spaces in the image",
        |r| spec(r).workspace_image = "a b".to_owned(),
        &["spec.workspace_image"],
    ),
    (
        "no location",
        |r| spec(r).workspace_location.clear(),
        &["spec.workspace_location"],
    ),
    (
        "no initializer",
        |r| spec(r).initializer = None,
        &["spec.initializer"],
    ),
    ("an unknown type", |r| r.r#type = 200, &["type"]),
    (
        "an unknown admission",
        |r| spec(r).admission = 7,
        &["spec.admission"],
    ),
    (
        "port zero",
        |r| spec(r).ports = vec![port(0)],
        &["spec.ports[0].port"],
    ),
    (
        "a port too high",
        |r| spec(r).ports = vec![port(8080), port(65536)],
        &["spec.ports[1].port"],
    ),
    (
        "a port twice",
        |r| spec(r).ports = vec![port(5900), port(5900)],
        &["spec.ports"],
    ),
    (
        "a variable without a legal name",
        |r| spec(r).envvars = vec![env("A=B", "x")],
        &["spec.envvars[0].name"],
    ),
    (
        "no duration",
        |r| spec(r).timeout = "soon".to_owned(),
        &["spec.timeout"],
    ),
    (
        "no duration to close",
        |r| spec(r).closed_timeout = "1d".to_owned(),
        &["spec.closed_timeout"],
    ),
    (
        "an annotation with an illegal key",
        |r| {
            drop(
                metadata(r)
                    .annotations
                    .insert("a b".to_owned(), "x".to_owned()),
            )
        },
        &["metadata.annotations[\"a b\"]"],
    ),
    (
        "annotations too big",
        |r| {
            drop(
                metadata(r)
                    .annotations
                    .insert("big".to_owned(), "x".repeat(300 << 10)),
            )
        },
        &["metadata.annotations"],
    ),
    (
        "a variable too big",
        |r| spec(r).envvars = vec![env("BIG", &"x".repeat(2 << 20))],
        &["spec.envvars"],
    ),
    (
        "several faults at once",
        |r| {
            r.id.clear();
            spec(r).workspace_image.clear();
            spec(r).ports = vec![port(70000)];
        },
        &["id", "spec.workspace_image", "spec.ports[0].port"],
    ),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_fault_is_named_and_nothing_is_written() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let faults = cluster.server.as_ref().unwrap().faults();
    faults.record();
    let mut wrong = Vec::new();
    for (name, spoil, fields) in CASES {
        let mut spoiled = request("spoiled");
        spoil(&mut spoiled);
        let Err(status) = world.client.clone().start_workspace(spoiled).await else {
            wrong.push(format!("{name}: was accepted"));
            continue;
        };
        let named: Vec<String> = status
            .get_details_bad_request()
            .map(|bad| {
                bad.field_violations
                    .into_iter()
                    .map(|violation| violation.field)
                    .collect()
            })
            .unwrap_or_default();
        let missing = fields
            .iter()
            .filter(|field| !named.iter().any(|named| named.starts_with(**field)));
        if status.code() != Code::InvalidArgument || missing.count() > 0 {
            wrong.push(format!(
                "{name}: {:?} {named:?} {}",
                status.code(),
                status.message()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let written = faults
        .requests()
        .into_iter()
        .filter(|r| r.is_write() && r.user_agent.starts_with("wsman/"));
    assert_eq!(written.count(), 0);
    assert_eq!(
        cluster
            .api::<Pod>()
            .await
            .list(&ListParams::default())
            .await
            .unwrap()
            .items
            .len(),
        0
    );
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_label_value_is_kept_beside_a_hash() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut odd = request("odd");
    let (owner, meta_id) = ("Jane Doe <jane@example.com>", "team/green wombat");
    metadata(&mut odd).owner = owner.to_owned();
    metadata(&mut odd).meta_id = meta_id.to_owned();
    world.client.clone().start_workspace(odd).await.unwrap();
    let status = world.describe("odd").await.unwrap().metadata.unwrap();
    assert_eq!(
        (status.owner.as_str(), status.meta_id.as_str()),
        (owner, meta_id)
    );
    let filter = MetadataFilter {
        owner: owner.to_owned(),
        ..Default::default()
    };
    let listed = GetWorkspacesRequest {
        must_match: Some(filter),
    };
    assert_eq!(
        world
            .client
            .clone()
            .get_workspaces(listed)
            .await
            .unwrap()
            .into_inner()
            .status
            .len(),
        1
    );
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_nothing_can_have_are_refused_by_every_call() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    for id in ["", "a,b=c", "../x", "a\nb"] {
        let id_of = || id.to_owned();
        let keys = UpdateSshKeyRequest {
            id: id_of(),
            ..Default::default()
        };
        assert_eq!(refused_fields!(world, update_ssh_key, keys), ["id"]);
        let level = ControlAdmissionRequest {
            id: id_of(),
            ..Default::default()
        };
        assert_eq!(refused_fields!(world, control_admission, level), ["id"]);
        let snapshot = TakeSnapshotRequest {
            id: id_of(),
            ..Default::default()
        };
        assert_eq!(refused_fields!(world, take_snapshot, snapshot), ["id"]);
        let backup = BackupWorkspaceRequest { id: id_of() };
        assert_eq!(refused_fields!(world, backup_workspace, backup), ["id"]);
        assert_eq!(
            world.describe(id).await.unwrap_err().code(),
            Code::InvalidArgument,
            "{id:?}"
        );
        let stop = StopWorkspaceRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        assert_eq!(
            world
                .client
                .clone()
                .stop_workspace(stop)
                .await
                .unwrap_err()
                .code(),
            Code::InvalidArgument
        );
        let beat = MarkActiveRequest {
            id: id.to_owned(),
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
            Code::InvalidArgument
        );
    }
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_makes_no_sense_is_refused_before_anything_is_read() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let faults = cluster.server.as_ref().unwrap().faults();
    faults.record();
    let id = || "unknown".to_owned();
    let timeout = |duration: &str, kind| SetTimeoutRequest {
        id: id(),
        duration: duration.to_owned(),
        r#type: kind,
    };
    for duration in ["", "soon", "1d", "-5m", "5"] {
        let fields = refused_fields!(world, set_timeout, timeout(duration, 0));
        assert_eq!(fields, ["duration"], "{duration:?}");
    }
    let fields = refused_fields!(world, set_timeout, timeout("x", 9));
    assert_eq!(fields, ["duration", "type"]);
    let control = |spec| ControlPortRequest {
        id: id(),
        expose: true,
        spec,
    };
    let fields = refused_fields!(world, control_port, control(None));
    assert_eq!(fields, ["spec"]);
    for number in [0, 65_536, u32::MAX] {
        let fields = refused_fields!(world, control_port, control(Some(port(number))));
        assert_eq!(fields, ["spec.port"], "{number}");
    }
    let odd = PortSpec {
        visibility: 2,
        protocol: -1,
        ..port(80)
    };
    let fields = refused_fields!(world, control_port, control(Some(odd)));
    assert_eq!(fields, ["spec.visibility", "spec.protocol"]);
    let admission = ControlAdmissionRequest { id: id(), level: 2 };
    let fields = refused_fields!(world, control_admission, admission);
    assert_eq!(fields, ["level"]);
    let keys = |keys: &[&str]| UpdateSshKeyRequest {
        id: id(),
        keys: keys.iter().map(|key| (*key).to_owned()).collect(),
    };
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkhwSFl5uHX+RKdMvZwICCuQYdOLDd3T87WZ0zuLI1w";
    for key in [
        "",
        " ",
        "a\nb",
        "a\rb",
        "a\u{7}",
        "not a key",
        "ssh-rsa A",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
    ] {
        let fields = refused_fields!(world, update_ssh_key, keys(&[KEY, key]));
        assert_eq!(fields, ["keys[1]"], "{key:?}");
    }
    let absurd = format!("{KEY} {}", "k".repeat(700 << 10));
    let fields = refused_fields!(world, update_ssh_key, keys(&[&absurd]));
    assert_eq!(fields, ["keys"]);
    for name in ["", "A", "a b", "../x", "a,b=c"] {
        let request = DeleteVolumeSnapshotRequest {
            id: name.to_owned(),
            ws_type: 3,
            ..Default::default()
        };
        let fields = refused_fields!(world, delete_volume_snapshot, request);
        assert_eq!(fields, ["id", "ws_type"], "{name:?}");
    }
    let asked = faults.requests().into_iter();
    // The daemon's watch may not have it yet.
    let follows = |query: &str| query.contains("watch") || query.contains("labelSelector");
    let reviews = |path: &str| path.ends_with("selfsubjectaccessreviews");
    let asked = asked
        .filter(|r| r.user_agent.starts_with("wsman/") && !follows(&r.query) && !reviews(&r.path));
    assert_eq!(asked.collect::<Vec<_>>(), []);
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_describes_the_service_in_both_versions() {
    use tonic_reflection::pb::{v1, v1alpha};
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let endpoint =
        tonic::transport::Endpoint::from_shared(format!("http://{}", world.addr)).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(channel.clone());
    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let ask = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(list),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(services) = answer
    else {
        panic!()
    };
    let names: Vec<_> = services
        .service
        .iter()
        .map(|service| service.name.as_str())
        .collect();
    assert!(
        names.contains(&"wsman.WorkspaceManager")
            && names.contains(&"registryfacade.SpecProvider")
            && names.contains(&"grpc.health.v1.Health"),
        "{names:?}"
    );

    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(channel);
    let list = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol(
        "wsman.WorkspaceStatus".into(),
    );
    let ask = v1alpha::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(list),
    };
    let mut answers = client
        .server_reflection_info(tokio_stream::iter([ask]))
        .await
        .unwrap()
        .into_inner();
    let answer = answers
        .message()
        .await
        .unwrap()
        .unwrap()
        .message_response
        .unwrap();
    assert!(matches!(
        answer,
        v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(_)
    ));
    drop((client, answers));
    world.drain().await.unwrap();
}
