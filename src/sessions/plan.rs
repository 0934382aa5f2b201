//! The pods of a session, as values: the anchor first, then those that it owns.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Affinity, Container, ContainerPort, DownwardAPIVolumeFile, DownwardAPIVolumeSource, EnvVar,
    ObjectFieldSelector, Pod, PodAffinityTerm, PodAntiAffinity, PodSchedulingGate, PodSpec, Probe,
    ResourceRequirements, SecretVolumeSource, Service, ServiceSpec, TCPSocketAction, Toleration,
    Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    LabelSelector, LabelSelectorRequirement, ObjectMeta, OwnerReference,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::marks::{CALLER_PREFIX, FINALIZER, GATE, KIND, annotation, label};
use super::packed;
use super::request::SessionRequest;
use super::request::values::PEERS;
use super::rules::SessionRules;
use crate::action::{Action, Dependant, PodRef};
use crate::error::{Error, FieldViolation};
use crate::proto::wsman::sessions::v1::{
    Component, ComponentStatus, Health, Phase, QueueStatus, Session, SessionSpec, SessionStatus,
};

/// What a session is made of. Without owner references: they need the uid of the anchor.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The pod of the decider: it holds the spec and owns everything else.
    pub anchor: Pod,
    /// The other components, in the order of the spec.
    pub members: Vec<Pod>,
    /// Gives every component a name in DNS.
    pub service: Service,
}

/// Name of the container of every component.
pub const MAIN: &str = "main";
/// Most bytes of the packed spec: the annotations of a pod may have 256 KiB together.
const MAX_SPEC: usize = 200 << 10;
/// How long a component has to end once it is to.
pub const GRACE_SECONDS: i64 = 30;

/// Name of the volume with the addresses of the others, and of the file in it.
const PEERS_VOLUME: &str = "peers";

/// Returns the name of the pod of a component. That of the decider is the id: there is one pod of a name, and so one
/// session of an id. No id has a dot.
pub fn pod_name(id: &str, component: &str, decider: &str) -> String {
    match component == decider {
        true => id.to_owned(),
        false => format!("{id}.{component}"),
    }
}

impl Plan {
    /// Returns the writes that make what belongs to an anchor, but for the pods that are there.
    pub fn dependants(self, anchor: &PodRef, is_there: impl Fn(&str) -> bool) -> Vec<Action> {
        let service = Dependant::Service(Box::new(self.service));
        let missing = self.members.into_iter().filter(|pod| {
            let name = pod.metadata.name.as_deref();
            !name.is_some_and(&is_there)
        });
        let pods = missing.map(|pod| Action::CreatePod(Box::new(owned(pod, anchor))));
        [Action::CreateDependant(anchor.clone(), service)]
            .into_iter()
            .chain(pods)
            .collect()
    }
}

/// Returns a pod that goes with the anchor.
fn owned(mut pod: Pod, anchor: &PodRef) -> Pod {
    pod.metadata.owner_references = Some(vec![OwnerReference {
        api_version: "v1".to_owned(),
        kind: "Pod".to_owned(),
        name: anchor.name.clone(),
        uid: anchor.uid.clone(),
        ..OwnerReference::default()
    }]);
    pod
}

/// Builds everything that starting a session creates.
///
/// # Errors
/// [`Error::Invalid`] if the spec is too large for an annotation.
pub fn plan(request: &SessionRequest, rules: &SessionRules, now: Timestamp) -> Result<Plan, Error> {
    let packed = packed::pack(&request.spec);
    if packed.len() > MAX_SPEC {
        let size = packed.len();
        let why = format!("has {size} bytes when it is packed; at most {MAX_SPEC} fit onto a pod");
        return Err(Error::Invalid {
            message: format!("invalid request: spec: {why}"),
            violations: vec![FieldViolation::new("spec", why)],
        });
    }
    let build = Build {
        request,
        rules,
        now,
    };
    let mut anchor = None;
    let mut members = Vec::new();
    for (place, component) in request.spec.components.iter().enumerate() {
        let mut pod = build.pod(place, component);
        if component.name == request.spec.decider {
            build.make_anchor(&mut pod, &packed);
            anchor = Some(pod);
        } else {
            members.push(pod);
        }
    }
    let Some(anchor) = anchor else {
        let why = format!("session {} has no decider", request.id);
        return Err(Error::Internal { why });
    };
    Ok(Plan {
        anchor,
        members,
        service: build.service(),
    })
}

/// Returns the session that a request would start, as it would wait in its queue.
pub fn outlook(request: &SessionRequest, queue: QueueStatus) -> Session {
    let spec = &request.spec;
    let components = spec.components.iter().map(|component| ComponentStatus {
        name: component.name.clone(),
        role: component.role.clone(),
        pool: component.pool.clone(),
        pod: pod_name(&request.id, &component.name, &spec.decider),
        health: Health::Waiting.into(),
        ..ComponentStatus::default()
    });
    Session {
        id: request.id.clone(),
        spec: Some(spec.clone()),
        status: Some(SessionStatus {
            phase: Phase::Queued.into(),
            components: components.collect(),
            queue: Some(queue),
            ..SessionStatus::default()
        }),
    }
}

struct Build<'a> {
    request: &'a SessionRequest,
    rules: &'a SessionRules,
    now: Timestamp,
}

impl Build<'_> {
    fn spec(&self) -> &SessionSpec {
        &self.request.spec
    }

    fn pod(&self, place: usize, component: &Component) -> Pod {
        let name = pod_name(&self.request.id, &component.name, &self.spec().decider);
        let mut annotations = component.annotations.clone();
        annotations.extend(self.annotations(place));
        Pod {
            metadata: ObjectMeta {
                name: Some(name),
                namespace: Some(self.rules.namespace.clone()),
                labels: Some(self.labels(component)),
                annotations: Some(annotations),
                ..ObjectMeta::default()
            },
            spec: Some(PodSpec {
                restart_policy: Some("Never".to_owned()),
                hostname: Some(component.name.clone()),
                subdomain: Some(self.request.id.clone()),
                node_selector: Some(
                    [(self.rules.pools.label.clone(), component.pool.clone())].into(),
                ),
                affinity: Some(one_per_node()),
                tolerations: Some(self.tolerations()),
                scheduling_gates: Some(vec![PodSchedulingGate {
                    name: GATE.to_owned(),
                }]),
                // The ceiling: it counts from the start of the pod, and is lowered when the decider is released.
                active_deadline_seconds: Some(seconds(
                    self.rules.provisioning + self.rules.deadline.longest,
                )),
                termination_grace_period_seconds: Some(GRACE_SECONDS),
                automount_service_account_token: Some(false),
                enable_service_links: Some(false),
                containers: vec![self.container(component)],
                volumes: volumes(component),
                ..PodSpec::default()
            }),
            ..Pod::default()
        }
    }

    /// The anchor holds what is of the whole session, and knows where the others are.
    fn make_anchor(&self, pod: &mut Pod, packed: &str) {
        pod.metadata.finalizers = Some(vec![FINALIZER.to_owned()]);
        let annotations = pod.metadata.annotations.get_or_insert_default();
        annotations.insert(annotation::SPEC.to_owned(), packed.to_owned());
        let ttl = self.spec().ttl.as_ref().map_or(0, |ttl| ttl.seconds);
        annotations.insert(annotation::TTL.to_owned(), ttl.to_string());
        let peers = self.spec().peers.clone().unwrap_or_default();
        let name = match peers.variable.as_str() {
            "" => PEERS,
            name => name,
        };
        let addresses = self.peers();
        if !peers.file.is_empty() {
            let lines = addresses.iter().map(|address| format!("{address}\n"));
            annotations.insert(annotation::PEERS.to_owned(), lines.collect());
        }
        let Some(spec) = &mut pod.spec else { return };
        if !peers.file.is_empty() {
            let volumes = spec.volumes.get_or_insert_default();
            volumes.push(peers_volume());
        }
        let Some(main) = spec.containers.first_mut() else {
            return;
        };
        // Nobody waits for the decider.
        main.readiness_probe = None;
        let env = main.env.get_or_insert_default();
        env.retain(|variable| variable.name != name);
        env.push(variable(name, &addresses.join(",")));
        if !peers.file.is_empty() {
            let mounts = main.volume_mounts.get_or_insert_default();
            mounts.push(VolumeMount {
                name: PEERS_VOLUME.to_owned(),
                mount_path: peers.file.clone(),
                sub_path: Some(PEERS_VOLUME.to_owned()),
                read_only: Some(true),
                ..VolumeMount::default()
            });
        }
    }

    /// Returns the addresses of all components but the decider, one for each, in the order of their roles.
    fn peers(&self) -> Vec<String> {
        let spec = self.spec();
        let peers = spec.peers.clone().unwrap_or_default();
        let rank = |component: &Component| {
            let named = peers
                .role_order
                .iter()
                .position(|role| *role == component.role);
            (named.unwrap_or(usize::MAX), component.role.clone())
        };
        let mut others: Vec<&Component> = spec
            .components
            .iter()
            .filter(|component| component.name != spec.decider)
            .collect();
        others.sort_by_cached_key(|component| rank(component));
        let addresses = others.into_iter().map(|component| {
            let host = format!(
                "{}.{}.{}.svc",
                component.name, self.request.id, self.rules.namespace
            );
            let first = component.ports.first().map_or(0, |port| port.port);
            match (peers.port, first) {
                (0, 0) => host,
                (0, port) | (port, _) => format!("{host}:{port}"),
            }
        });
        addresses.collect()
    }

    fn labels(&self, component: &Component) -> BTreeMap<String, String> {
        let own = [
            (label::KIND, KIND),
            (label::GROUP, &self.request.id),
            (label::COMPONENT, &component.name),
            (label::ROLE, &component.role),
            (label::POOL, &component.pool),
            (label::QUEUE, &self.spec().queue),
            (label::INSTALLATION, &self.rules.installation),
            (label::ONE_PER_NODE, "true"),
        ];
        let own = own.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let callers = self.spec().labels.iter();
        let callers = callers.map(|(key, value)| (format!("{CALLER_PREFIX}{key}"), value.clone()));
        callers.chain(own).collect()
    }

    fn annotations(&self, place: usize) -> BTreeMap<String, String> {
        let marks = [
            (annotation::SPEC_SHA256, self.request.fingerprint.clone()),
            (
                annotation::MEMBERS,
                self.spec().components.len().to_string(),
            ),
            (annotation::PLACE, place.to_string()),
            (annotation::ENQUEUED_AT, self.now.to_string()),
        ];
        marks.map(|(key, value)| (key.to_owned(), value)).into()
    }

    fn tolerations(&self) -> Vec<Toleration> {
        let tolerated = self.rules.pools.tolerated.iter();
        let tolerated = tolerated.map(|key| Toleration {
            key: Some(key.clone()),
            operator: Some("Exists".to_owned()),
            ..Toleration::default()
        });
        tolerated.collect()
    }

    fn container(&self, component: &Component) -> Container {
        let some = |list: &[String]| (!list.is_empty()).then(|| list.to_vec());
        let env = component.env.iter();
        let ports = component.ports.iter().map(|port| ContainerPort {
            name: Some(port.name.clone()),
            container_port: i32::try_from(port.port).unwrap_or_default(),
            ..ContainerPort::default()
        });
        let mounts = component.secrets.iter().enumerate();
        let mounts = mounts.map(|(at, mount)| VolumeMount {
            name: secret_volume(at),
            mount_path: mount.path.clone(),
            read_only: Some(true),
            ..VolumeMount::default()
        });
        Container {
            name: MAIN.to_owned(),
            image: Some(component.image.clone()),
            command: some(&component.command),
            args: some(&component.args),
            env: Some(env.map(|(name, value)| variable(name, value)).collect()),
            ports: Some(ports.collect()),
            volume_mounts: Some(mounts.collect()),
            resources: resources(component),
            readiness_probe: port_check(component),
            // What the decider leaves is the result of the session; a failure leaves the end of its log.
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Container::default()
        }
    }

    fn service(&self) -> Service {
        let id = &self.request.id;
        let labels: BTreeMap<_, _> = [
            (label::KIND, KIND),
            (label::GROUP, id),
            (label::INSTALLATION, &self.rules.installation),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
        Service {
            metadata: ObjectMeta {
                name: Some(id.clone()),
                namespace: Some(self.rules.namespace.clone()),
                labels: Some(labels.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(ServiceSpec {
                cluster_ip: Some("None".to_owned()),
                selector: Some(labels),
                // Components look each other up before they are ready.
                publish_not_ready_addresses: Some(true),
                ..ServiceSpec::default()
            }),
            ..Service::default()
        }
    }
}

fn variable(name: &str, value: &str) -> EnvVar {
    EnvVar {
        name: name.to_owned(),
        // Kubernetes expands `$(NAME)` in values, and `$$` is a dollar.
        value: Some(value.replace("$(", "$$(")),
        ..EnvVar::default()
    }
}

fn resources(component: &Component) -> Option<ResourceRequirements> {
    let all = component.requests.iter();
    let requests: BTreeMap<_, _> = all
        .map(|(name, value)| (name.clone(), Quantity(value.clone())))
        .collect();
    // Of these nobody may use more than requested, so Kubernetes wants the limit named.
    let is_limited = |name: &str| name.contains('/') || name.starts_with("hugepages-");
    let limits: BTreeMap<_, _> = requests
        .iter()
        .filter(|(name, _)| is_limited(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    (!requests.is_empty()).then(|| ResourceRequirements {
        limits: (!limits.is_empty()).then_some(limits),
        requests: Some(requests),
        ..ResourceRequirements::default()
    })
}

/// A component with ports is ready when it listens on the first of them.
fn port_check(component: &Component) -> Option<Probe> {
    let ports = &component.ports;
    let port = ports.first().filter(|_| !component.skip_port_check)?;
    Some(Probe {
        tcp_socket: Some(TCPSocketAction {
            port: IntOrString::Int(i32::try_from(port.port).unwrap_or_default()),
            ..TCPSocketAction::default()
        }),
        period_seconds: Some(1),
        ..Probe::default()
    })
}

/// The annotation with the addresses, as a file.
fn peers_volume() -> Volume {
    let file = DownwardAPIVolumeFile {
        path: PEERS_VOLUME.to_owned(),
        field_ref: Some(ObjectFieldSelector {
            field_path: format!("metadata.annotations['{}']", annotation::PEERS),
            ..ObjectFieldSelector::default()
        }),
        ..DownwardAPIVolumeFile::default()
    };
    Volume {
        name: PEERS_VOLUME.to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![file]),
            ..DownwardAPIVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn secret_volume(at: usize) -> String {
    format!("secret-{at}")
}

fn volumes(component: &Component) -> Option<Vec<Volume>> {
    let mounts = component.secrets.iter().enumerate();
    let volumes = mounts.map(|(at, mount)| Volume {
        name: secret_volume(at),
        secret: Some(SecretVolumeSource {
            secret_name: Some(mount.secret.clone()),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    });
    (!component.secrets.is_empty()).then(|| volumes.collect())
}

/// Keeps every component of every session off the others' nodes.
fn one_per_node() -> Affinity {
    let term = PodAffinityTerm {
        label_selector: Some(LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: label::ONE_PER_NODE.to_owned(),
                operator: "Exists".to_owned(),
                values: None,
            }]),
            ..LabelSelector::default()
        }),
        topology_key: "kubernetes.io/hostname".to_owned(),
        ..PodAffinityTerm::default()
    };
    Affinity {
        pod_anti_affinity: Some(PodAntiAffinity {
            required_during_scheduling_ignored_during_execution: Some(vec![term]),
            ..PodAntiAffinity::default()
        }),
        ..Affinity::default()
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
