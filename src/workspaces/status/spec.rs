//! The parts of the start request in a status: metadata, spec and authentication, read from labels and annotations.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use prost::Message;

use super::faults::Faults;
use super::{Defaults, timestamp};
use crate::objects::{Container, Meta, Pod};
use crate::proto::registryfacade::ImageSpec;
use crate::proto::wsman::{
    AdmissionLevel, ExposedPorts, IdeImage, WorkspaceAuthentication, WorkspaceMetadata,
    WorkspacePhase, WorkspaceSpec, WorkspaceStatus, WorkspaceType,
};
use crate::workspaces::marks::{annotation, label};

/// Owner, meta id and the caller's annotations. Of the pod's own marks only `gitpod/never-ready` is included, under its
/// own name, as in the classic manager: on its pods always, on ours once they are STOPPED ([`failed_start`]).
pub(super) fn metadata(pod: &Pod) -> WorkspaceMetadata {
    let meta = &pod.metadata;
    let given = |annotation, label| {
        let value = meta.annotation(annotation).or_else(|| meta.label(label));
        value.unwrap_or_default().to_owned()
    };
    let annotations = meta.annotations.iter().filter_map(|(key, value)| {
        let key = match key.strip_prefix(annotation::USER_PREFIX) {
            Some(own) => own,
            None if key == annotation::NEVER_READY && !is_ours(pod) => key,
            None => return None,
        };
        Some((key.to_owned(), value.clone()))
    });
    WorkspaceMetadata {
        owner: given(annotation::OWNER, label::OWNER),
        meta_id: given(annotation::META_ID, label::META_ID),
        started_at: started_at(meta).map(timestamp),
        annotations: annotations.collect(),
        ..Default::default()
    }
}

/// Shows that a pod of ours ended before it was ready: classic managers count failed starts by it.
pub(super) fn failed_start(status: &mut WorkspaceStatus, pod: &Pod) {
    if let Some(mark) = pod.metadata.annotation(annotation::NEVER_READY)
        && status.phase() == WorkspacePhase::Stopped
        && let Some(metadata) = &mut status.metadata
    {
        let key = annotation::NEVER_READY.to_owned();
        metadata.annotations.insert(key, mark.to_owned());
    }
}

fn is_ours(pod: &Pod) -> bool {
    pod.metadata.annotation(annotation::SPEC_SHA256).is_some()
}

/// When the workspace was started: its pod may have been recreated since.
fn started_at(meta: &Meta) -> Option<Timestamp> {
    let mark = meta.annotation(annotation::STARTED_AT);
    mark.and_then(|text| text.parse().ok())
        .or(meta.creation_timestamp)
}

/// Type, images, URL, ports and timeouts.
#[expect(deprecated, reason = "clients still read deprecated_ide_image")]
pub(super) fn spec(
    pod: &Pod,
    container: Option<&Container>,
    defaults: &Defaults,
    faults: &mut Faults,
) -> WorkspaceSpec {
    let meta = &pod.metadata;
    let or_default = |key, default: &String| {
        meta.annotation(key)
            .map_or_else(|| default.clone(), str::to_owned)
    };
    let kind = kind(meta.label(label::TYPE)).unwrap_or_else(|why| {
        faults.add(why);
        WorkspaceType::Regular
    });
    let url = meta.annotation(annotation::URL).unwrap_or_default();
    let mut spec = WorkspaceSpec {
        headless: meta.label(label::HEADLESS) == Some("true"),
        url: url.to_owned(),
        exposed_ports: exposed_ports(meta.annotation(annotation::EXPOSED_PORTS)).ports,
        r#type: kind.into(),
        timeout: or_default(annotation::CUSTOM_TIMEOUT, &defaults.timeout),
        closed_timeout: or_default(annotation::CUSTOM_CLOSED_TIMEOUT, &defaults.closed_timeout),
        class: meta.label(label::CLASS).unwrap_or_default().to_owned(),
        ide_image: Some(IdeImage::default()),
        ..Default::default()
    };
    match meta.annotation(annotation::IMAGE_SPEC) {
        None => {
            let image = container.map(|container| container.image.clone());
            spec.workspace_image = image.unwrap_or_default();
        }
        Some(text) => {
            let images = image_spec(text).unwrap_or_else(|why| {
                faults.add(why);
                ImageSpec::default()
            });
            spec.workspace_image = images.base_ref;
            spec.deprecated_ide_image.clone_from(&images.ide_ref);
            spec.ide_image = Some(IdeImage {
                web_ref: images.ide_ref,
                supervisor_ref: images.supervisor_ref,
                ..Default::default()
            });
            spec.ide_image_layers = images.ide_layer_ref;
        }
    }
    spec
}

/// Who has access; an unknown admission means only the owner.
pub(super) fn auth(pod: &Pod) -> WorkspaceAuthentication {
    let mark = |key| pod.metadata.annotation(key);
    let admission = match mark(annotation::ADMISSION) {
        Some("admit_everyone") => AdmissionLevel::AdmitEveryone,
        _ => AdmissionLevel::AdmitOwnerOnly,
    };
    WorkspaceAuthentication {
        admission: admission.into(),
        owner_token: mark(annotation::OWNER_TOKEN).unwrap_or_default().to_owned(),
    }
}

fn kind(label: Option<&str>) -> Result<WorkspaceType, String> {
    let Some(text) = label else {
        return Ok(WorkspaceType::Regular);
    };
    WorkspaceType::from_str_name(&text.to_uppercase())
        .ok_or_else(|| format!("pod has invalid type label: {text}"))
}

fn image_spec(text: &str) -> Result<ImageSpec, String> {
    let invalid = |why: String| format!("invalid image spec: {why}");
    let bytes = BASE64_STANDARD
        .decode(text)
        .map_err(|e| invalid(e.to_string()))?;
    ImageSpec::decode(bytes.as_slice()).map_err(|e| invalid(e.to_string()))
}

/// An invalid mark means no ports: it must not hide the workspace.
fn exposed_ports(mark: Option<&str>) -> ExposedPorts {
    mark.and_then(|text| BASE64_STANDARD.decode(text).ok())
        .and_then(|bytes| ExposedPorts::decode(bytes.as_slice()).ok())
        .unwrap_or_default()
}
