//! The Services of a workspace, built from the marks of its pod alone: at the start and whenever one has to be repaired
//! (spec 3.11, design 3).

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Service, ServicePort, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use prost::Message;

use super::env::{IDE_PORT, SUPERVISOR_PORT};
use super::marks::{annotation, label};
use super::names;
use crate::proto::wsman::{ExposedPorts, PortSpec, PortVisibility};

/// Labels of a workspace that its Services carry too.
const LABELS: [&str; 11] = [
    label::APP,
    label::COMPONENT,
    label::WORKSPACE_ID,
    label::OWNER,
    label::META_ID,
    label::PROJECT,
    label::TEAM,
    label::TYPE,
    label::HEADLESS,
    label::MARKER,
    label::CLASS,
];

/// Returns the Services of the pod with these marks: the one of the IDE, and the one of the exposed ports if there are
/// any. Without owner references. The same marks always give the same Services.
pub fn of_pod(
    namespace: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) -> Vec<Service> {
    let Some(prefix) = annotations.get(annotation::SERVICE_PREFIX) else {
        return Vec::new();
    };
    let ide = service(
        namespace,
        &names::ide_service(prefix),
        "ide",
        labels,
        vec![
            port("ide", IDE_PORT.into()),
            port("supervisor", SUPERVISOR_PORT.into()),
        ],
    );
    let exposed: Vec<ServicePort> = annotations
        .get(annotation::EXPOSED_PORTS)
        .map(|text| decode_ports(text))
        .unwrap_or_default()
        .iter()
        .map(|p| port(&port_name(p), p.port))
        .collect();
    let ports = (!exposed.is_empty()).then(|| {
        service(
            namespace,
            &names::ports_service(prefix),
            "ports",
            labels,
            exposed,
        )
    });
    std::iter::once(ide).chain(ports).collect()
}

/// Returns the value of the annotation [`annotation::EXPOSED_PORTS`].
pub fn encode_ports(ports: &[PortSpec]) -> String {
    let message = ExposedPorts {
        ports: ports.to_vec(),
    };
    STANDARD.encode(message.encode_to_vec())
}

/// Reads the annotation [`annotation::EXPOSED_PORTS`]; what cannot be read, and what is no port or comes
/// twice, counts as none.
pub fn decode_ports(text: &str) -> Vec<PortSpec> {
    let ports = STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| ExposedPorts::decode(bytes.as_slice()).ok())
        .map(|message| message.ports)
        .unwrap_or_default();
    let mut seen = BTreeSet::new();
    let valid = |p: &PortSpec| (1..=65_535).contains(&p.port) && seen.insert(p.port);
    ports.into_iter().filter(valid).collect()
}

fn port_name(spec: &PortSpec) -> String {
    let visibility = match spec.visibility() {
        PortVisibility::Private => "private",
        PortVisibility::Public => "public",
    };
    format!("p{}-{visibility}", spec.port)
}

fn port(name: &str, number: u32) -> ServicePort {
    // Ports are at most 65535.
    let number = i32::try_from(number).unwrap_or_default();
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::Int(number)),
        ..ServicePort::default()
    }
}

/// The selector is the id and the marker: no label that a person may change cuts a workspace off.
fn service(
    namespace: &str,
    name: &str,
    kind: &str,
    labels: &BTreeMap<String, String>,
    ports: Vec<ServicePort>,
) -> Service {
    let pick = |keys: &[&str]| -> BTreeMap<String, String> {
        keys.iter()
            .filter_map(|key| Some(((*key).to_owned(), labels.get(*key)?.clone())))
            .collect()
    };
    let mut own = pick(&LABELS);
    own.insert(label::SERVICE_TYPE.to_owned(), kind.to_owned());
    Service {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            labels: Some(own),
            ..ObjectMeta::default()
        },
        spec: Some(ServiceSpec {
            type_: Some("ClusterIP".to_owned()),
            selector: Some(pick(&[label::WORKSPACE_ID, label::MARKER])),
            ports: Some(ports),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
