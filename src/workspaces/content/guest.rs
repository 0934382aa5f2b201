//! What the guest needs in a pod on a plain node: its containers, their volumes, and its plan in the Secret.

// Clients of the classic manager still send deprecated flags.
#![allow(deprecated)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Container, EmptyDirVolumeSource, ExecAction, HostPathVolumeSource, KeyToPath, Lifecycle,
    LifecycleHandler, PodSpec, ProjectedVolumeSource, SecretProjection, SecretVolumeSource,
    SecurityContext, Volume, VolumeMount, VolumeProjection,
};
use serde_json::{Value, json};
use wsman_store::manifest::Kind;
use wsman_store::settings::StoreSettings;

use super::report::{INIT, SAVE};
use crate::config::{Class, Guest, Manager};
use crate::proto::contentservice::WorkspaceInitializer;
use crate::proto::named;
use crate::proto::wsman::{WorkspaceFeatureFlag as Flag, WorkspaceType};
use crate::workspaces::marks::secret_key;
use crate::workspaces::start_request::StartRequest;

/// Where the guest finds its plan and the secrets of it.
const PLAN_DIR: &str = "/run/wsman/content";
/// What the guest's containers share.
const STATE_DIR: &str = "/run/wsman/state";
/// Where the kubelet reads the report of a container.
const TERMINATION_LOG: &str = "/dev/termination-log";
/// Root of the workspace's volume.
const ROOT: &str = "/workspace";
/// Keys of the class's Secret, as in Secrets of the type kubernetes.io/ssh-auth.
const SSH_KEY: &str = "ssh-privatekey";
const CLASS_KNOWN_HOSTS: &str = "known_hosts";
const PLAN_VOLUME: &str = "vol-content-plan";
const STATE_VOLUME: &str = "vol-content-state";
const STORE_VOLUME: &str = "vol-content-store";

/// Most files of a workspace.
const MAX_FILES: u64 = 5_000_000;
/// Most bytes of a workspace whose class has no quota.
const MAX_BYTES: u64 = 100 << 30;
/// Most bytes of one downloaded file.
const MAX_DOWNLOAD: u64 = 10 << 30;

/// Returns the guest, if it has something to do for a workspace.
pub fn of<'a>(request: &StartRequest, manager: &'a Manager) -> Option<&'a Guest> {
    let guest = manager.guest.as_ref()?;
    let has_volume = !request.has_flag(Flag::FullWorkspaceBackup);
    (has_volume && (request.needs_content() || saves(request, guest))).then_some(guest)
}

/// Whether the content of a workspace is saved: not that of an image build, which has none, nor that on a volume, of which
/// there are snapshots.
pub fn saves(request: &StartRequest, guest: &Guest) -> bool {
    let on_volume = request.has_flag(Flag::PersistentVolumeClaim);
    guest.store.is_some() && request.kind != WorkspaceType::Imagebuild && !on_volume
}

/// Adds the guest's plan to the Secret, with an initializer whose passwords are there already.
pub fn add_plan(
    request: &StartRequest,
    initializer: &WorkspaceInitializer,
    manager: &Manager,
    class: &Class,
    guest: &Guest,
    secrets: &mut BTreeMap<String, String>,
) {
    let initializer = named::encode("contentservice.WorkspaceInitializer", initializer);
    let git = &guest.git;
    let instead_of: BTreeMap<_, _> = git.instead_of.iter().cloned().collect();
    let mut plan = json!({
        "version": 1,
        "instance": request.id,
        "owner": request.metadata.owner,
        "workspace": request.metadata.meta_id,
        "initializer": initializer,
        "git": {
            "accept_new_host_keys": git.accept_new_host_keys,
            "allow_file_remotes": git.allow_file_remotes,
            "instead_of": instead_of,
        },
        "download": { "max_bytes": MAX_DOWNLOAD },
        "limits": {
            "max_bytes": class.limits.storage.as_ref().map_or(MAX_BYTES, |quota| u64::try_from(quota.value()).unwrap_or(MAX_BYTES)),
            "max_files": MAX_FILES,
        },
    });
    if !git.known_hosts.is_empty() {
        plan["git"]["known_hosts"] = secret_key::KNOWN_HOSTS.into();
        secrets.insert(secret_key::KNOWN_HOSTS.to_owned(), git.known_hosts.clone());
    }
    if !class.git_secret.is_empty() {
        plan["git"]["ssh_key"] = SSH_KEY.into();
        plan["git"]["more_known_hosts"] = CLASS_KNOWN_HOSTS.into();
    }
    if let Some(store) = &guest.store {
        plan["store"] = json!(store.settings);
        if saves(request, guest) {
            plan["save"] = save(request, manager, class, store.keep);
        }
    }
    secrets.insert(secret_key::CONTENT_PLAN.to_owned(), plan.to_string());
}

fn save(request: &StartRequest, manager: &Manager, class: &Class, keep: u32) -> Value {
    let kind = match request.kind {
        WorkspaceType::Prebuild => "snapshot",
        WorkspaceType::Regular | WorkspaceType::Imagebuild => "backup",
    };
    let mut save = json!({
        "kind": kind,
        "final_timeout": manager.timeouts.content_finalization.to_string(),
        "keep": keep,
    });
    if class.backup_interval.as_nanos() > 0 && request.kind == WorkspaceType::Regular {
        save["interval"] = class.backup_interval.to_string().into();
    }
    save
}

/// Adds the guest's containers and volumes to a pod. `secret` is the name of the pod's Secret, `keys` are those in it.
pub fn add_containers(
    spec: &mut PodSpec,
    request: &StartRequest,
    (guest, class): (&Guest, &Class),
    secret: &str,
    keys: &[String],
    security: &SecurityContext,
) {
    let workspace = spec
        .containers
        .iter()
        .flat_map(|c| c.volume_mounts.iter().flatten());
    let mut mounts: Vec<_> = workspace
        .filter(|m| m.mount_path == ROOT)
        .cloned()
        .collect();
    mounts.push(mount(PLAN_VOLUME, PLAN_DIR, true));
    mounts.push(mount(STATE_VOLUME, STATE_DIR, false));
    let volumes = spec.volumes.get_or_insert_default();
    volumes.push(plan_volume(secret, keys, &class.git_secret));
    volumes.push(Volume {
        name: STATE_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    });
    if let Some(StoreSettings::Local { path }) = guest.store.as_ref().map(|s| &s.settings) {
        let path = path.display().to_string();
        volumes.push(Volume {
            name: STORE_VOLUME.to_owned(),
            host_path: Some(HostPathVolumeSource {
                path: path.clone(),
                type_: Some("DirectoryOrCreate".to_owned()),
            }),
            ..Volume::default()
        });
        mounts.push(mount(STORE_VOLUME, &path, false));
    }
    let container = |name: &str, verb: &str| Container {
        name: name.to_owned(),
        image: Some(guest.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(command(guest, verb)),
        termination_message_policy: Some("File".to_owned()),
        volume_mounts: Some(mounts.clone()),
        security_context: Some(security.clone()),
        ..Container::default()
    };
    let inits = spec.init_containers.get_or_insert_default();
    inits.push(container(INIT, "init"));
    if saves(request, guest) {
        inits.push(Container {
            restart_policy: Some("Always".to_owned()),
            lifecycle: Some(Lifecycle {
                // It runs as soon as the pod ends, while the signal waits for the workspace container.
                pre_stop: Some(LifecycleHandler {
                    exec: Some(ExecAction {
                        command: Some(stateful(guest, "stopping")),
                    }),
                    ..LifecycleHandler::default()
                }),
                ..Lifecycle::default()
            }),
            ..container(SAVE, "save")
        });
    }
}

fn command(guest: &Guest, verb: &str) -> Vec<String> {
    let plan = format!("{PLAN_DIR}/plan.json");
    let mut argv = stateful(guest, verb);
    let paths = [
        "--plan",
        &plan,
        "--root",
        ROOT,
        "--termination-log",
        TERMINATION_LOG,
    ];
    argv.extend(paths.map(str::to_owned));
    argv
}

/// A verb that needs no plan.
fn stateful(guest: &Guest, verb: &str) -> Vec<String> {
    let argv = [
        guest.command.as_str(),
        "content",
        verb,
        "--state",
        STATE_DIR,
    ];
    argv.map(str::to_owned).into()
}

/// Returns what a request to save runs in the saver.
pub(super) fn request(guest: &Guest, kind: Kind, id: &str, early: bool) -> Vec<String> {
    let mut argv = stateful(guest, "request");
    argv.extend(["--kind", kind.as_str(), "--id", id].map(str::to_owned));
    argv.extend(early.then(|| "--no-wait".to_owned()));
    argv
}

/// The plan, and the secrets beside it. `shared` is the Secret of the class, if it has one.
fn plan_volume(secret: &str, keys: &[String], shared: &str) -> Volume {
    let items = keys.iter().filter_map(|key| {
        let path = match key.as_str() {
            secret_key::CONTENT_PLAN => "plan.json",
            key if key == secret_key::KNOWN_HOSTS || key.starts_with("initializer.") => key,
            _ => return None,
        };
        Some(item(key, path))
    });
    let items = Some(items.collect());
    let mut volume = Volume {
        name: PLAN_VOLUME.to_owned(),
        ..Volume::default()
    };
    if shared.is_empty() {
        volume.secret = Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            items,
            default_mode: Some(READABLE),
            optional: None,
        });
        return volume;
    }
    let source = |name: &str, items, optional| VolumeProjection {
        secret: Some(SecretProjection {
            name: name.to_owned(),
            items,
            optional,
        }),
        ..VolumeProjection::default()
    };
    let shared_items = [SSH_KEY, CLASS_KNOWN_HOSTS].map(|key| item(key, key));
    volume.projected = Some(ProjectedVolumeSource {
        default_mode: Some(READABLE),
        sources: Some(vec![
            source(secret, items, None),
            // It may have no known hosts.
            source(shared, Some(shared_items.into()), Some(true)),
        ]),
    });
    volume
}

/// For the user of the workspace.
const READABLE: i32 = 0o444;

fn item(key: &str, path: &str) -> KeyToPath {
    KeyToPath {
        key: key.to_owned(),
        path: path.to_owned(),
        mode: None,
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: read_only.then_some(true),
        ..VolumeMount::default()
    }
}
