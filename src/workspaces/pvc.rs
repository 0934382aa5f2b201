//! The PersistentVolumeClaim of a workspace with PERSISTENT_VOLUME_CLAIM (docs/protocol.md#feature-flags).

// The flag and the snapshot are deprecated; clients of the classic manager still send them.
#![allow(deprecated)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::start_request::StartRequest;
use crate::config::{Class, Manager, Pvc};
use crate::proto::wsman::{StartWorkspaceSpec, WorkspaceFeatureFlag, WorkspaceType};

/// Returns the volume settings of a class for a type, if it has any.
pub(super) fn of(class: &Class, kind: WorkspaceType) -> Option<&Pvc> {
    match kind {
        WorkspaceType::Regular => Some(&class.pvc),
        WorkspaceType::Prebuild => Some(&class.prebuild_pvc),
        WorkspaceType::Imagebuild => None,
    }
}

/// Returns why a request for a volume is invalid: every cluster rejects a claim without a size, after its pod is
/// created.
pub(super) fn fault(
    spec: &StartWorkspaceSpec,
    kind: WorkspaceType,
    manager: &Manager,
) -> Option<String> {
    let flag = i32::from(WorkspaceFeatureFlag::PersistentVolumeClaim);
    let (id, class) = manager.class(&spec.class)?;
    let has_size = of(class, kind).is_some_and(|pvc| pvc.size.is_some());
    let asks = spec.feature_flags.contains(&flag);
    (asks && !has_size).then(|| {
        let kind = kind.as_str_name();
        format!("asks for a volume, but class {id} has none for the type {kind}")
    })
}

/// Returns the claim, with the pod's name, if the request has the flag. It begins with a volume snapshot, if one is named.
pub(super) fn build(
    request: &StartRequest,
    class: &Class,
    name: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
    snapshot: Option<&str>,
) -> Option<PersistentVolumeClaim> {
    if !request.has_flag(WorkspaceFeatureFlag::PersistentVolumeClaim) {
        return None;
    }
    let pvc = of(class, request.kind)?;
    let size = pvc.size.as_ref()?.as_str();
    Some(PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(labels.clone()),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            resources: Some(VolumeResourceRequirements {
                requests: Some([("storage".to_owned(), Quantity(size.to_owned()))].into()),
                limits: None,
            }),
            storage_class_name: Some(pvc.storage_class.clone()).filter(|name| !name.is_empty()),
            data_source: snapshot.map(|name| TypedLocalObjectReference {
                api_group: Some("snapshot.storage.k8s.io".to_owned()),
                kind: "VolumeSnapshot".to_owned(),
                name: name.to_owned(),
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}
