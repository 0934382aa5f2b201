//! The marks that a pod is created with: labels and annotations (docs/protocol.md#labels,
//! docs/protocol.md#annotations).

// Clients of the classic manager still send deprecated fields and flags.
#![allow(deprecated)]

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;

use super::broken;
use crate::config::{Class, Manager, Nodes};
use crate::duration::GoDuration;
use crate::error::Error;
use crate::proto::contentservice::WorkspaceInitializer;
use crate::proto::registryfacade::ImageSpec;
use crate::proto::wsman::{
    AdmissionLevel, PortSpec, SshPublicKeys, WorkspaceFeatureFlag as Flag, WorkspaceType,
};
use crate::quantity::Quantity;
use crate::workspaces::marks::{READY_BY_CONDITION, annotation, label, secret_key};
use crate::workspaces::start_request::StartRequest;
use crate::workspaces::url::Values;
use crate::workspaces::{initializer, names, pvc, services, sizes};

/// Returns the labels. A value that is no label value is hashed, and an annotation has it in full.
pub(super) fn labels(request: &StartRequest, class: &str) -> BTreeMap<String, String> {
    let metadata = &request.metadata;
    let kind = match request.kind {
        WorkspaceType::Regular => "regular",
        WorkspaceType::Prebuild => "prebuild",
        WorkspaceType::Imagebuild => "imagebuild",
    };
    let headless = (request.kind != WorkspaceType::Regular).to_string();
    let mut labels: BTreeMap<String, String> = [
        (label::APP, "gitpod"),
        (label::COMPONENT, "workspace"),
        (label::WORKSPACE_ID, &request.id),
        (label::OWNER, &names::label_value(&metadata.owner)),
        (label::META_ID, &names::label_value(&metadata.meta_id)),
        (label::PROJECT, &names::label_value(metadata.project())),
        (label::TEAM, &names::label_value(metadata.team())),
        (label::TYPE, kind),
        (label::HEADLESS, &headless),
        (label::MARKER, "true"),
        (label::CLASS, class),
        (label::NETWORK_POLICY, "default"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into();
    for (flag, key) in [
        (Flag::FullWorkspaceBackup, label::FULL_WORKSPACE_BACKUP),
        (Flag::PersistentVolumeClaim, label::PVC_FEATURE),
    ] {
        if request.has_flag(flag) {
            labels.insert(key.to_owned(), "true".to_owned());
        }
    }
    labels
}

/// Returns the annotations, without those that may be long.
pub(super) fn annotations(
    request: &StartRequest,
    manager: &Manager,
    class: &Class,
    url: &str,
    owner_token: &str,
) -> Result<BTreeMap<String, String>, Error> {
    let spec = &request.spec;
    let metadata = &request.metadata;
    let on = || "true".to_owned();
    let mut all = BTreeMap::new();
    let mut set = |key: &str, value: String| {
        all.insert(key.to_owned(), value);
    };
    for (key, value) in &metadata.annotations {
        set(&format!("{}{key}", annotation::USER_PREFIX), value.clone());
    }
    for (key, value) in [
        (annotation::OWNER, metadata.owner.as_str()),
        (annotation::META_ID, &metadata.meta_id),
        (annotation::TEAM, metadata.team()),
        (annotation::PROJECT, metadata.project()),
    ] {
        if !names::is_label_value(value) {
            set(key, value.to_owned());
        }
    }
    set(annotation::ID, request.id.clone());
    set(annotation::SERVICE_PREFIX, request.prefix().to_owned());
    set(annotation::URL, url.to_owned());
    set(annotation::OWNER_TOKEN, owner_token.to_owned());
    set(annotation::SAFE_TO_EVICT, "false".to_owned());
    set(annotation::SPEC_SHA256, request.fingerprint.clone());
    set(
        annotation::IMAGE_SPEC,
        STANDARD.encode(image_spec(request).encode_to_vec()),
    );
    let admission = match request.admission {
        AdmissionLevel::AdmitOwnerOnly => "admit_owner_only",
        AdmissionLevel::AdmitEveryone => "admit_everyone",
    };
    set(annotation::ADMISSION, admission.to_owned());
    match manager.nodes {
        // Nothing needs to be initialised.
        Nodes::Plain => {
            set(annotation::ALREADY_INITIALIZING, on());
            set(annotation::READY_BY, READY_BY_CONDITION.to_owned());
        }
        Nodes::Gitpod(_) => {
            set(annotation::NEVER_READY, on());
            set(annotation::APPARMOR, "unconfined".to_owned());
        }
    }
    for (key, what, text) in [
        (annotation::CUSTOM_TIMEOUT, "timeout", &spec.timeout),
        (
            annotation::CUSTOM_CLOSED_TIMEOUT,
            "closed_timeout",
            &spec.closed_timeout,
        ),
        (
            annotation::MAXIMUM_LIFETIME,
            "maximum_lifetime",
            &spec.maximum_lifetime,
        ),
    ] {
        if text.is_empty() {
            continue;
        }
        GoDuration::parse(text).map_err(|e| {
            let why =
                format!("cannot create workspace pod: invalid workspace {what} {text:?}: {e}");
            broken(&format!("spec.{what}"), &why)
        })?;
        set(key, text.clone());
    }
    let amount = |quantity: &Option<Quantity>| quantity.as_ref().map(Quantity::to_string);
    if request.has_flag(Flag::WorkspaceClassLimiting) {
        if let Some(amount) = amount(&class.cpu_min_limit) {
            set(annotation::CPU_MIN_LIMIT, amount);
        }
        if let Some(amount) = amount(&class.limits.cpu) {
            set(annotation::CPU_BURST_LIMIT, amount);
        }
    }
    if request.has_flag(Flag::WorkspaceConnectionLimiting) {
        set(annotation::CONNECTION_LIMITING, on());
    }
    if request.has_flag(Flag::PersistentVolumeClaim) {
        let pvc = pvc::of(class, request.kind);
        if let Some(pvc) = pvc.filter(|pvc| !pvc.snapshot_class.is_empty()) {
            set(annotation::SNAPSHOT_CLASS, pvc.snapshot_class.clone());
        }
    }
    if request.has_flag(Flag::WorkspacePsi) {
        set(annotation::PSI, on());
    }
    Ok(all)
}

/// The image spec for the registry facade.
fn image_spec(request: &StartRequest) -> ImageSpec {
    let spec = &request.spec;
    let ide = spec.ide_image.clone().unwrap_or_default();
    ImageSpec {
        base_ref: spec.workspace_image.clone(),
        ide_ref: if ide.web_ref.is_empty() {
            spec.deprecated_ide_image.clone()
        } else {
            ide.web_ref
        },
        content_layer: Vec::new(),
        supervisor_ref: ide.supervisor_ref,
        ide_layer_ref: if spec.ide_image_layers.is_empty() {
            vec![ide.desktop_ref, ide.desktop_plugin_ref]
        } else {
            spec.ide_image_layers.clone()
        },
    }
}

/// Adds the SSH keys and the initializer, without its secrets: to the annotations, or to the Secret if they are long.
/// Proxies read the keys from the annotation, so the initializer moves first. Returns the initializer as it is there.
pub(super) fn content(
    request: &StartRequest,
    annotations: &mut BTreeMap<String, String>,
    secrets: &mut BTreeMap<String, String>,
) -> WorkspaceInitializer {
    let mut initializer = request.spec.initializer.clone().unwrap_or_default();
    secrets.extend(initializer::extract_secrets(&mut initializer));
    let mut long = Vec::new();
    if !request.spec.ssh_public_keys.is_empty() {
        let keys = SshPublicKeys {
            keys: request.spec.ssh_public_keys.clone(),
        };
        long.push((
            annotation::SSH_PUBLIC_KEYS,
            secret_key::SSH_PUBLIC_KEYS,
            STANDARD.encode(keys.encode_to_vec()),
        ));
    }
    long.push((
        annotation::CONTENT_INITIALIZER,
        secret_key::CONTENT_INITIALIZER,
        STANDARD.encode(initializer.encode_to_vec()),
    ));
    let mut spilled = Vec::new();
    let mut sum = 0;
    for (key, key_in_secret, value) in long {
        if sum + value.len() <= sizes::MAX_LONG_ANNOTATIONS {
            sum += value.len();
            annotations.insert(key.to_owned(), value);
        } else {
            secrets.insert(key_in_secret.to_owned(), value);
            spilled.push(key);
        }
    }
    if !spilled.is_empty() {
        annotations.insert(annotation::IN_SECRET.to_owned(), spilled.join(","));
    }
    initializer
}

/// Exposes the ports of the request.
pub(super) fn ports(
    request: &StartRequest,
    manager: &Manager,
    annotations: &mut BTreeMap<String, String>,
) {
    let exposed: Vec<PortSpec> = request
        .spec
        .ports
        .iter()
        .map(|port| PortSpec {
            url: manager.port_url_template.render(&Values {
                id: &request.id,
                prefix: request.prefix(),
                host: &manager.host_url,
                port: port.port,
            }),
            ..port.clone()
        })
        .collect();
    if !exposed.is_empty() {
        let value = services::encode_ports(&exposed);
        annotations.insert(annotation::EXPOSED_PORTS.to_owned(), value);
    }
}
