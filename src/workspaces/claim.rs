//! The volume claim of a workspace with PERSISTENT_VOLUME_CLAIM (spec 3.8).

// The flag and the snapshot were given up later; clients of the classic manager still send them.
#![allow(deprecated)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    PersistentVolumeClaim, PersistentVolumeClaimSpec, TypedLocalObjectReference,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::request::StartRequest;
use crate::config::{Claim, Class};
use crate::proto::wsman::{WorkspaceFeatureFlag, WorkspaceType};

/// Returns the claim, named like the pod, if the request asks for one.
pub(super) fn build(
    request: &StartRequest,
    class: &Class,
    name: &str,
    namespace: &str,
    labels: &BTreeMap<String, String>,
) -> Option<PersistentVolumeClaim> {
    if !request.has_flag(WorkspaceFeatureFlag::PersistentVolumeClaim) {
        return None;
    }
    let none = Claim::default();
    let claim = match request.kind {
        WorkspaceType::Regular => &class.pvc,
        WorkspaceType::Prebuild => &class.prebuild_pvc,
        WorkspaceType::Imagebuild => &none,
    };
    let size = claim.size.as_ref().map_or("0", |size| size.as_str());
    let snapshot = request.spec.volume_snapshot.as_ref();
    let snapshot = snapshot.filter(|snapshot| !snapshot.volume_snapshot_name.is_empty());
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
            storage_class_name: Some(claim.storage_class.clone()).filter(|name| !name.is_empty()),
            data_source: snapshot.map(|snapshot| TypedLocalObjectReference {
                api_group: Some("snapshot.storage.k8s.io".to_owned()),
                kind: "VolumeSnapshot".to_owned(),
                name: snapshot.volume_snapshot_name.clone(),
            }),
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    })
}
