//! What fills a workspace, put together from the marks of its pod, its Secret and its class.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;

use crate::config::Manager;
use crate::objects::{Meta, Pod};
use crate::proto::contentservice::WorkspaceInitializer;
use crate::proto::wsdaemon::{InitWorkspaceRequest, WorkspaceMetadata};
use crate::quantity::Quantity;
use crate::workspaces::initializer;
use crate::workspaces::marks::{annotation, label, secret_key};

/// Values of a Secret in base64, by their keys.
pub type Values = BTreeMap<String, String>;

/// Why there is no request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// The Secret is not there yet.
    Secret,
    /// What will not come by itself.
    Else(String),
}

/// Returns the request that fills the workspace of a pod.
///
/// # Errors
/// [`Missing`].
pub fn fill(
    pod: &Pod,
    id: &str,
    secret: Option<&Values>,
    manager: &Manager,
) -> Result<InitWorkspaceRequest, Missing> {
    let meta = &pod.metadata;
    let class = meta.label(label::CLASS).unwrap_or_default();
    let Some(class) = manager.classes.get(class) else {
        return Err(Missing::Else(format!("no workspace class {class:?}")));
    };
    let owner = text(meta, annotation::OWNER, label::OWNER);
    let Some(owner) = owner.filter(|owner| !owner.is_empty()) else {
        return Err(Missing::Else("the pod does not name its owner".to_owned()));
    };
    let is_set = |key| meta.label(key) == Some("true");
    Ok(InitWorkspaceRequest {
        id: id.to_owned(),
        metadata: Some(WorkspaceMetadata {
            owner,
            meta_id: text(meta, annotation::META_ID, label::META_ID).unwrap_or_default(),
        }),
        initializer: Some(initializer(meta, secret)?),
        full_workspace_backup: is_set(label::FULL_WORKSPACE_BACKUP),
        content_manifest: Vec::new(),
        remote_storage_disabled: meta.label(label::TYPE) == Some("imagebuild"),
        storage_quota_bytes: class.limits.storage.as_ref().map_or(0, Quantity::value),
        persistent_volume_claim: is_set(label::PVC_FEATURE),
    })
}

/// A value in full is in an annotation, if it is no label value.
fn text(meta: &Meta, in_full: &str, label: &str) -> Option<String> {
    meta.annotation(in_full)
        .or_else(|| meta.label(label))
        .map(str::to_owned)
}

/// The initializer as it was asked for: long ones are in the Secret, and so are the passwords of all.
fn initializer(meta: &Meta, secret: Option<&Values>) -> Result<WorkspaceInitializer, Missing> {
    let value = |key: &str| match secret.map(|secret| secret.get(key)) {
        None => Err(Missing::Secret),
        Some(None) => Err(Missing::Else(format!("the Secret has no key {key}"))),
        Some(Some(value)) => decoded(value).ok_or_else(|| {
            let why = format!("key {key} of the Secret is unreadable");
            Missing::Else(why)
        }),
    };
    let key = annotation::CONTENT_INITIALIZER;
    let spilled = meta.annotation(annotation::IN_SECRET).unwrap_or_default();
    let encoded = match spilled.split(',').any(|name| name == key) {
        true => value(secret_key::CONTENT_INITIALIZER)?,
        false => match meta.annotation(key) {
            Some(text) => text.to_owned(),
            None => return Err(Missing::Else(format!("the pod has no annotation {key}"))),
        },
    };
    let read = STANDARD.decode(&encoded).ok();
    let read = read.and_then(|bytes| WorkspaceInitializer::decode(bytes.as_slice()).ok());
    let Some(mut initializer) = read else {
        return Err(Missing::Else(format!("annotation {key} is unreadable")));
    };
    initializer::inject_secrets(&mut initializer, value)?;
    Ok(initializer)
}

fn decoded(value: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(value).ok()?).ok()
}
