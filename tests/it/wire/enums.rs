//! Unknown enum numbers in every request: the descriptors show where enums are.

use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, ReflectMessage, Value};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use wsman::rpc::frames::frame;

use super::each_field;
use crate::http::{JSON, Web};
use crate::support::cluster;
use crate::support::world::World;

const NUMBER: i32 = 99;

/// A number that means nothing, for an enum.
fn unknown(field: &FieldDescriptor) -> Vec<Value> {
    match field.kind() {
        Kind::Enum(_) => vec![Value::EnumNumber(NUMBER)],
        _ => Vec::new(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_no_enum_has_are_refused_wherever_they_are() {
    let cluster = cluster::embedded().await;
    let client = cluster.client().await;
    let world = World::start_with(client, &cluster.namespace, |config| {
        config["sessions"] = serde_json::json!({});
    });
    let world = world.await;
    let web = Web::http2(world.addr);
    let pool = DescriptorPool::decode(wsman::proto::DESCRIPTORS).unwrap();
    let methods = wsman::rpc::methods::Methods::load().unwrap();
    let mut tried = Vec::new();
    for service in pool.services() {
        for method in service.methods() {
            for (path, message) in each_field(&method.input(), &unknown) {
                let url = format!("/{}/{}", service.full_name(), method.name());
                let kind = [("content-type", "application/grpc")];
                let answer = web
                    .post(&url, &kind, frame(0, &message.encode_to_vec()))
                    .await;
                let status = Status::from_header_map(&answer.headers).unwrap();
                assert_eq!(
                    status.code(),
                    Code::InvalidArgument,
                    "{url} {path}: {status}"
                );
                let bad = status.get_details_bad_request();
                let bad = bad.unwrap_or_else(|| panic!("{url} {path}: {status}"));
                let bad = bad.field_violations;
                let named = bad.iter().any(|violation| violation.field == path);
                assert!(named, "{url} {path}: {bad:?}");
                tried.push(format!("{} {path}", message.descriptor().name()));
                // Some are served over gRPC alone.
                if methods.find(&url).is_none() {
                    continue;
                }
                let text = serde_json::to_string(&message).unwrap();
                assert!(text.contains("99"), "{text}");
                let answer = web.post(&url, &[JSON], text).await;
                let body = String::from_utf8_lossy(&answer.body);
                assert_eq!(answer.line, 400, "{url} {path}: {body}");
                assert!(
                    body.contains(&format!("\"field\":\"{path}\"")),
                    "{path}: {body}"
                );
            }
        }
    }
    for known in [
        "StopWorkspaceRequest policy",
        "StartWorkspaceRequest spec.feature_flags[0]",
        "StartWorkspaceRequest spec.initializer.git.config.authentication",
        "ControlPortRequest spec.visibility",
        "DeleteVolumeSnapshotRequest ws_type",
    ] {
        assert!(tried.iter().any(|tried| tried == known), "{tried:?}");
    }
    world.drain().await.unwrap();
}
