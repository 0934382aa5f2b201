//! Secrets in the wrong field: no response repeats them.

use prost_reflect::prost::Message;
use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MapKey, Value};
use wsman::rpc::frames::frame;

use super::each_field;
use crate::http::{Answer, JSON, Web};
use crate::support::cluster;
use crate::support::world::World;

/// Each contains the secret, and a character that most fields reject.
const VALUES: [&str; 6] = [
    "user:hunter2@registry.example.com/image:1",
    "user:hunter2@registry.example.com/\u{1}",
    "NAME=hunter2\u{1}",
    "https://hunter2@host/\u{1}",
    "https://host/?token=hunter2\u{1}",
    "Bearer hunter2\u{1}",
];

/// A text, and maps with it as key and as value.
fn holding(text: &str, field: &FieldDescriptor) -> Vec<Value> {
    let value = |text: &str| Value::String(text.to_owned());
    let map =
        |key: &str, text: &str| Value::Map([(MapKey::String(key.to_owned()), value(text))].into());
    match field.kind() {
        Kind::Message(entry) if field.is_map() => match entry.map_entry_value_field().kind() {
            Kind::String => vec![map(text, "x"), map("x", text)],
            _ => Vec::new(),
        },
        Kind::String => vec![value(text)],
        _ => Vec::new(),
    }
}

#[track_caller]
fn is_silent(answer: &Answer, asked: &str) {
    let status = tonic::Status::from_header_map(&answer.headers);
    let text = format!(
        "{status:?} {:?} {}",
        answer.headers,
        String::from_utf8_lossy(&answer.body)
    );
    // Encoded details are also readable.
    assert!(!text.contains("hunter2"), "{asked}: {text}");
    let details = status
        .map(|status| status.details().to_vec())
        .unwrap_or_default();
    assert!(
        !details.windows(7).any(|part| part == b"hunter2"),
        "{asked}: {text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_repeats_a_secret_wherever_it_was_put() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let web = Web::http2(world.addr);
    let pool = DescriptorPool::decode(wsman::proto::DESCRIPTORS).unwrap();
    let service = pool.get_service_by_name("wsman.WorkspaceManager").unwrap();
    let mut asked = 0;
    for method in service
        .methods()
        .filter(|method| !method.is_server_streaming())
    {
        let path = format!("/wsman.WorkspaceManager/{}", method.name());
        for text in VALUES {
            let values = |field: &FieldDescriptor| holding(text, field);
            for (_, message) in each_field(&method.input(), &values) {
                let shown = format!("{path} {message}");
                let kind = [("content-type", "application/grpc")];
                let answer = web
                    .post(&path, &kind, frame(0, &message.encode_to_vec()))
                    .await;
                is_silent(&answer, &shown);
                let json = serde_json::to_string(&message).unwrap();
                is_silent(&web.post(&path, &[JSON], json).await, &shown);
                asked += 1;
            }
        }
    }
    assert!(asked > 200, "{asked}");
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn json_that_does_not_fit_is_not_repeated() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let web = Web::http1(world.addr);
    for (text, field) in [
        (r#"{"spec": "hunter2"}"#, "spec"),
        (
            r#"{"spec": {"ports": [{"port": "hunter2"}]}}"#,
            "spec.ports[0].port",
        ),
        (r#"{"type": "hunter2"}"#, "type"),
        (
            r#"{"spec": {"envvars": [{"name": "A", "secret": "hunter2"}]}}"#,
            "spec.envvars[0].secret",
        ),
        (
            r#"{"spec": {"envvars": {"NAME=hunter2": 1}}}"#,
            "spec.envvars",
        ),
        (
            r#"{"spec": {"envvars": [{"NAME=hunter2": 1}]}}"#,
            "spec.envvars[0].NAME=…",
        ),
        (
            r#"{"metadata": {"annotations": {"NAME=hunter2": 7}}}"#,
            "metadata.annotations.NAME=…",
        ),
        (
            r#"{"metadata": {"annotations": {"NAME=hunter2": "", "NAME=hunter2": ""}}}"#,
            "metadata.annotations[\"NAME=…\"]",
        ),
    ] {
        let answer = web.post("/rpc/StartWorkspace", &[JSON], text).await;
        assert_eq!(answer.line, 400, "{text}");
        assert_eq!(answer.error().2, field, "{answer:?}");
        is_silent(&answer, text);
    }
    world.drain().await.unwrap();
}
