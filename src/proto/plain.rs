//! A message as JSON in the format of an event trace log: names of the proto file, enums as numbers, times as seconds
//! and nanoseconds, zero values omitted. Not proto3 JSON.

use std::sync::LazyLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, MapKey, ReflectMessage, Value as Field};
use serde_json::{Map, Value, json};

use super::DESCRIPTORS;
use super::wsman::WorkspaceStatus;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).unwrap_or_default());

/// Returns a status as JSON.
pub fn status(status: &WorkspaceStatus) -> Value {
    let kind = POOL.get_message_by_name("wsman.WorkspaceStatus");
    let bytes = status.encode_to_vec();
    // The descriptors are compiled with the type.
    let dynamic = kind.and_then(|kind| DynamicMessage::decode(kind, bytes.as_slice()).ok());
    dynamic.map(|dynamic| message(&dynamic)).unwrap_or_default()
}

fn message(dynamic: &DynamicMessage) -> Value {
    let mut members = Map::new();
    for field in dynamic.descriptor().fields() {
        if dynamic.has_field(&field) {
            let value = value(&dynamic.get_field(&field));
            members.insert(field.name().to_owned(), value);
        }
    }
    members.into()
}

fn value(field: &Field) -> Value {
    match field {
        Field::Bool(value) => json!(value),
        Field::I32(value) => json!(value),
        Field::I64(value) => json!(value),
        Field::U32(value) => json!(value),
        Field::U64(value) => json!(value),
        Field::F32(value) => json!(value),
        Field::F64(value) => json!(value),
        Field::String(value) => json!(value),
        Field::Bytes(value) => json!(BASE64_STANDARD.encode(value)),
        Field::EnumNumber(value) => json!(value),
        Field::Message(value) => message(value),
        Field::List(values) => values.iter().map(value).collect(),
        Field::Map(values) => {
            let members = values.iter().map(|(key, entry)| (name(key), value(entry)));
            members.collect::<Map<_, _>>().into()
        }
    }
}

fn name(key: &MapKey) -> String {
    match key {
        MapKey::Bool(key) => key.to_string(),
        MapKey::I32(key) => key.to_string(),
        MapKey::I64(key) => key.to_string(),
        MapKey::U32(key) => key.to_string(),
        MapKey::U64(key) => key.to_string(),
        MapKey::String(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wsman::*;

    #[test]
    fn messages_are_as_the_classic_log_has_them() {
        let status = WorkspaceStatus {
            id: "a".to_owned(),
            status_version: 7,
            phase: WorkspacePhase::Running.into(),
            metadata: Some(WorkspaceMetadata {
                started_at: Some(pbjson_types::Timestamp {
                    seconds: 5,
                    nanos: 0,
                }),
                annotations: [("k".to_owned(), "v".to_owned())].into(),
                ..Default::default()
            }),
            conditions: Some(WorkspaceConditions {
                volume_snapshot: Some(VolumeSnapshotInfo::default()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let wanted = json!({
            "id": "a",
            "status_version": 7,
            "phase": 4,
            "metadata": {"started_at": {"seconds": 5}, "annotations": {"k": "v"}},
            "conditions": {"volume_snapshot": {}},
        });
        assert_eq!(super::status(&status), wanted);
    }
}
