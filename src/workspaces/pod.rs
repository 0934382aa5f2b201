//! The pod of a workspace (docs/protocol.md#pods), before its class's template is merged in.

// Clients of the classic manager still send deprecated fields and flags.
#![allow(deprecated)]

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, ContainerPort, EmptyDirVolumeSource, HTTPGetAction,
    HostPathVolumeSource, NodeAffinity, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm,
    PersistentVolumeClaimVolumeSource, Pod, PodSecurityContext, PodSpec, Probe,
    ResourceRequirements, SeccompProfile, SecurityContext, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::content::guest;
use super::env::{self, Variable};
use super::port::{IDE_PORT, SUPERVISOR_PORT};
use super::start_request::StartRequest;
use super::{marks, names, node};
use crate::config::{Class, GitpodNodes, Guest, Manager, Nodes, Resources};
use crate::proto::wsman::{WorkspaceFeatureFlag as Flag, WorkspaceType};

const WORKSPACE_VOLUME: &str = "vol-this-workspace";
const DAEMON_VOLUME: &str = "daemon-mount";
/// Grace of a workspace before its content is saved.
const STOP_GRACE: Duration = Duration::from_secs(30);
/// User and group of a workspace.
const USER: i64 = 33_333;

/// The input of a pod besides the request.
pub(super) struct Parts<'a> {
    pub(super) manager: &'a Manager,
    pub(super) class: &'a Class,
    pub(super) name: &'a str,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) env: &'a [Variable],
    /// What fills and saves the workspace, if anything does.
    pub(super) guest: Option<&'a Guest>,
    /// Keys of its Secret.
    pub(super) secret_keys: &'a [String],
    /// Whether the class's template has its own security context for the workspace.
    pub(super) security_by_template: bool,
}

pub(super) fn build(request: &StartRequest, parts: Parts<'_>) -> Pod {
    let manager = parts.manager;
    let mut finalizers = vec![marks::FINALIZER.to_owned()];
    if manager.debug_workspace_pod {
        finalizers.push(marks::DEBUG_FINALIZER.to_owned());
    }
    let mut spec = PodSpec {
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        hostname: Some(request.metadata.meta_id.clone()).filter(|name| names::is_dns_label(name)),
        restart_policy: Some("Never".to_owned()),
        termination_grace_period_seconds: Some(180),
        scheduler_name: Some(manager.scheduler_name.clone()).filter(|name| !name.is_empty()),
        security_context: Some(PodSecurityContext {
            seccomp_profile: Some(seccomp(&manager.seccomp_profile)),
            ..PodSecurityContext::default()
        }),
        containers: vec![container(request, &parts)],
        tolerations: Some(tolerations()),
        ..PodSpec::default()
    };
    match &manager.nodes {
        Nodes::Plain => on_plain_node(&mut spec),
        Nodes::Gitpod(nodes) => on_gitpod_node(&mut spec, request, manager, nodes),
    }
    apply_flags(&mut spec, request, parts.name, &manager.nodes);
    if let Some(guest) = parts.guest {
        let keys = parts.secret_keys;
        let with = (guest, parts.class);
        guest::add_containers(&mut spec, request, with, parts.name, keys, &restricted());
        if guest::saves(request, guest) {
            let finalization = manager.timeouts.content_finalization.to_std();
            let grace = (STOP_GRACE + finalization).as_secs();
            spec.termination_grace_period_seconds = i64::try_from(grace).ok();
        }
    }
    Pod {
        metadata: ObjectMeta {
            name: Some(parts.name.to_owned()),
            namespace: Some(manager.namespace.clone()),
            labels: Some(parts.labels),
            annotations: Some(parts.annotations),
            finalizers: Some(finalizers),
            ..ObjectMeta::default()
        },
        spec: Some(spec),
        status: None,
    }
}

/// The node's directories, the daemon's socket, and the nodes that have both.
fn on_gitpod_node(
    spec: &mut PodSpec,
    request: &StartRequest,
    manager: &Manager,
    nodes: &GitpodNodes,
) {
    let root = nodes.workspace_host_path.trim_end_matches('/');
    let host_path = |name: &str, path: String| Volume {
        name: name.to_owned(),
        host_path: Some(HostPathVolumeSource {
            path,
            type_: Some("DirectoryOrCreate".to_owned()),
        }),
        ..Volume::default()
    };
    spec.volumes = Some(vec![
        host_path(WORKSPACE_VOLUME, format!("{root}/{}", request.id)),
        host_path(DAEMON_VOLUME, format!("{root}/{}-daemon", request.id)),
    ]);
    spec.service_account_name = Some("workspace".to_owned());
    spec.affinity = Some(affinity(request.kind, &manager.namespace));
}

/// For any node: the content is deleted with the pod. Its service account is the namespace's default one, without a
/// token, so that nothing must be prepared.
fn on_plain_node(spec: &mut PodSpec) {
    spec.volumes = Some(vec![Volume {
        name: WORKSPACE_VOLUME.to_owned(),
        empty_dir: Some(EmptyDirVolumeSource::default()),
        ..Volume::default()
    }]);
}

fn container(request: &StartRequest, parts: &Parts<'_>) -> Container {
    let port = |name: Option<&str>, number: u16| ContainerPort {
        name: name.map(str::to_owned),
        container_port: number.into(),
        ..ContainerPort::default()
    };
    let mount = |name: &str, path: &str, propagation: Option<&str>| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        mount_propagation: propagation.map(str::to_owned),
        ..VolumeMount::default()
    };
    let env = parts.env.iter().map(|v| env::on_pod(v, parts.name));
    let common = Container {
        name: marks::CONTAINER.to_owned(),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        ports: Some(vec![
            port(None, IDE_PORT),
            port(Some("supervisor"), SUPERVISOR_PORT),
        ]),
        env: Some(env.collect()),
        resources: resources(parts.class),
        termination_message_policy: Some("File".to_owned()),
        ..Container::default()
    };
    match &parts.manager.nodes {
        Nodes::Plain => Container {
            image: Some(request.spec.workspace_image.clone()),
            volume_mounts: Some(vec![mount(WORKSPACE_VOLUME, "/workspace", None)]),
            security_context: (!parts.security_by_template).then(restricted),
            ..common
        },
        Nodes::Gitpod(nodes) => {
            let down = Some("HostToContainer");
            let host = &nodes.registry_facade_host;
            Container {
                image: Some(format!("{host}/remote/{}", request.id)),
                command: Some(vec![
                    "/.supervisor/workspacekit".to_owned(),
                    "ring0".to_owned(),
                ]),
                volume_mounts: Some(vec![
                    mount(WORKSPACE_VOLUME, "/workspace", down),
                    mount(DAEMON_VOLUME, "/.workspace", down),
                ]),
                readiness_probe: Some(readiness_probe()),
                security_context: Some(workspacekit()),
                ..common
            }
        }
    }
}

fn resources(class: &Class) -> Option<ResourceRequirements> {
    let list = |from: &Resources| {
        let given = [
            ("cpu", &from.cpu),
            ("memory", &from.memory),
            ("ephemeral-storage", &from.ephemeral_storage),
        ];
        let list: BTreeMap<_, _> = given
            .into_iter()
            .filter_map(|(name, amount)| Some((name, amount.as_ref()?)))
            .filter(|(_, amount)| !amount.is_zero())
            .map(|(name, amount)| (name.to_owned(), resource::Quantity(amount.to_string())))
            .collect();
        (!list.is_empty()).then_some(list)
    };
    let (limits, requests) = (list(&class.limits), list(&class.requests));
    let any = limits.is_some() || requests.is_some();
    any.then_some(ResourceRequirements {
        limits,
        requests,
        claims: None,
    })
}

fn readiness_probe() -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/_supervisor/v1/status/content/wait/true".to_owned()),
            port: IntOrString::Int(SUPERVISOR_PORT.into()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        initial_delay_seconds: Some(2),
        period_seconds: Some(1),
        timeout_seconds: Some(1),
        success_threshold: Some(1),
        // Ten minutes: content may take that long.
        failure_threshold: Some(600),
        ..Probe::default()
    }
}

/// What workspacekit needs for its user namespace.
fn workspacekit() -> SecurityContext {
    let list = |names: &[&str]| Some(names.iter().map(|n| (*n).to_owned()).collect());
    SecurityContext {
        allow_privilege_escalation: Some(true),
        capabilities: Some(Capabilities {
            add: list(&[
                "AUDIT_WRITE",
                "FSETID",
                "KILL",
                "NET_BIND_SERVICE",
                "SYS_PTRACE",
            ]),
            drop: list(&[
                "SETPCAP",
                "CHOWN",
                "NET_RAW",
                "DAC_OVERRIDE",
                "FOWNER",
                "SYS_CHROOT",
                "SETFCAP",
                "SETUID",
                "SETGID",
            ]),
        }),
        ..workspace_user()
    }
}

/// What the "restricted" Pod Security Standard requires.
fn restricted() -> SecurityContext {
    SecurityContext {
        allow_privilege_escalation: Some(false),
        capabilities: Some(Capabilities {
            add: None,
            drop: Some(vec!["ALL".to_owned()]),
        }),
        ..workspace_user()
    }
}

fn workspace_user() -> SecurityContext {
    SecurityContext {
        privileged: Some(false),
        read_only_root_filesystem: Some(false),
        run_as_user: Some(USER),
        run_as_group: Some(USER),
        run_as_non_root: Some(true),
        ..SecurityContext::default()
    }
}

fn seccomp(profile: &str) -> SeccompProfile {
    if profile.is_empty() {
        return SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        };
    }
    SeccompProfile {
        type_: "Localhost".to_owned(),
        localhost_profile: Some(profile.to_owned()),
    }
}

/// Workspaces tolerate what is temporary: eviction would lose work.
fn tolerations() -> Vec<Toleration> {
    let toleration = |condition: &str, seconds: Option<i64>| Toleration {
        key: Some(format!("node.kubernetes.io/{condition}")),
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        toleration_seconds: seconds,
        value: None,
    };
    vec![
        toleration("disk-pressure", None),
        toleration("memory-pressure", None),
        toleration("network-unavailable", Some(30)),
    ]
}

/// Nodes for this kind of workload that have both node services of this namespace.
fn affinity(kind: WorkspaceType, namespace: &str) -> Affinity {
    let need = |key: String, operator: &str| NodeSelectorRequirement {
        key,
        operator: operator.to_owned(),
        values: None,
    };
    let [daemon, facade] = node::services(namespace);
    let needs = vec![
        need(node::workload(kind), "Exists"),
        need(daemon, "Exists"),
        need(facade, "Exists"),
        need("gitpod.io/experimental".to_owned(), "DoesNotExist"),
    ];
    Affinity {
        node_affinity: Some(NodeAffinity {
            required_during_scheduling_ignored_during_execution: Some(NodeSelector {
                node_selector_terms: vec![NodeSelectorTerm {
                    match_expressions: Some(needs),
                    match_fields: None,
                }],
            }),
            ..NodeAffinity::default()
        }),
        ..Affinity::default()
    }
}

/// Feature flags that change volumes (docs/protocol.md#feature-flags); `plan` has those for labels and annotations.
fn apply_flags(spec: &mut PodSpec, request: &StartRequest, pod_name: &str, nodes: &Nodes) {
    if request.has_flag(Flag::FullWorkspaceBackup) {
        if let Some(volumes) = &mut spec.volumes {
            volumes.retain(|v| v.name != WORKSPACE_VOLUME);
        }
        for container in &mut spec.containers {
            if let Some(mounts) = &mut container.volume_mounts {
                mounts.retain(|m| m.name != WORKSPACE_VOLUME);
            }
        }
    }
    if request.has_flag(Flag::PersistentVolumeClaim) {
        use_pvc(spec, pod_name);
        match nodes {
            Nodes::Plain => {
                let security = spec.security_context.get_or_insert_default();
                security.fs_group = Some(USER);
            }
            // The user of a workspace there is another one on the node.
            Nodes::Gitpod(_) => change_owner(spec),
        }
    }
}

/// Puts the content on the PersistentVolumeClaim with the pod's name.
fn use_pvc(spec: &mut PodSpec, pod_name: &str) {
    for volume in spec.volumes.iter_mut().flatten() {
        if volume.name == WORKSPACE_VOLUME {
            *volume = Volume {
                name: WORKSPACE_VOLUME.to_owned(),
                persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                    claim_name: pod_name.to_owned(),
                    read_only: None,
                }),
                ..Volume::default()
            };
        }
    }
    let mounts = spec
        .containers
        .iter_mut()
        .flat_map(|c| c.volume_mounts.iter_mut().flatten());
    for mount in mounts.filter(|m| m.name == WORKSPACE_VOLUME) {
        mount.sub_path = Some("workspace".to_owned());
        mount.mount_propagation = None;
    }
}

/// Gives the volume to the user of the workspace before it starts.
fn change_owner(spec: &mut PodSpec) {
    spec.init_containers = Some(vec![Container {
        name: "chown-workspace".to_owned(),
        image: Some("busybox".to_owned()),
        command: Some(
            ["chown", "133332:133332", "/workspace"]
                .map(str::to_owned)
                .into(),
        ),
        volume_mounts: Some(vec![VolumeMount {
            name: WORKSPACE_VOLUME.to_owned(),
            mount_path: "/workspace".to_owned(),
            sub_path: Some("workspace".to_owned()),
            ..VolumeMount::default()
        }]),
        ..Container::default()
    }]);
}
