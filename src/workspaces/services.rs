//! The Services of a workspace, built from the marks of its pod alone: at the start and whenever one has to be repaired
//! (spec 3.11, design 3).

use std::borrow::Cow;
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
use crate::objects;
use crate::proto::wsman::{ExposedPorts, PortProtocol, PortSpec, PortVisibility};

/// Most ports of one workspace: an EndpointSlice, which Kubernetes makes of a Service, holds no more.
pub const MAX_PORTS: usize = 100;

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
    let ports = |ports: &[Port]| ports.iter().map(Port::build).collect();
    let name = names::ide_service(prefix);
    let ide = service(namespace, &name, "ide", labels, ports(&ide_ports()));
    let exposed = annotations
        .get(annotation::EXPOSED_PORTS)
        .map(|text| decode_ports(text))
        .unwrap_or_default();
    let exposed: Vec<ServicePort> = ports(&exposed_ports(exposed));
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
    valid(ports)
}

/// Whether a Service that is there serves the IDE.
pub fn serves_ide(there: &[objects::ServicePort]) -> bool {
    serves(there, &ide_ports())
}

/// Whether a Service that is there serves exactly these ports.
pub fn serves_ports(there: &[objects::ServicePort], exposed: &[PortSpec]) -> bool {
    serves(there, &exposed_ports(valid(exposed.to_vec())))
}

/// Whether a Service that is there serves what another would.
pub fn serves_as(there: &[objects::ServicePort], wanted: &Service) -> bool {
    let ports = wanted.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    let ports = ports.into_iter().flatten().map(|port| Port {
        name: Cow::Borrowed(port.name.as_deref().unwrap_or_default()),
        number: port.port.unsigned_abs(),
        app_protocol: port.app_protocol.as_deref().unwrap_or_default(),
    });
    serves(there, &ports.collect::<Vec<_>>())
}

fn serves(there: &[objects::ServicePort], wanted: &[Port<'_>]) -> bool {
    there.len() == wanted.len() && there.iter().zip(wanted).all(|(t, w)| w.is(t))
}

/// One port of a Service, as far as it is ours to say.
struct Port<'a> {
    name: Cow<'a, str>,
    number: u32,
    app_protocol: &'a str,
}

fn ide_ports() -> [Port<'static>; 2] {
    [("ide", IDE_PORT), ("supervisor", SUPERVISOR_PORT)].map(|(name, number)| Port {
        name: Cow::Borrowed(name),
        number: number.into(),
        app_protocol: "",
    })
}

/// Only https is told: HTTP is also what callers leave unset for ports that speak something else.
fn exposed_ports(ports: Vec<PortSpec>) -> Vec<Port<'static>> {
    let port = |spec: PortSpec| {
        let visibility = match spec.visibility() {
            PortVisibility::Private => "private",
            PortVisibility::Public => "public",
        };
        Port {
            name: format!("p{}-{visibility}", spec.port).into(),
            number: spec.port,
            app_protocol: match spec.protocol() {
                PortProtocol::Http => "",
                PortProtocol::Https => "https",
            },
        }
    };
    ports.into_iter().map(port).collect()
}

fn valid(mut ports: Vec<PortSpec>) -> Vec<PortSpec> {
    let mut seen = BTreeSet::new();
    ports.retain(|p| (1..=65_535).contains(&p.port) && seen.insert(p.port));
    ports
}

impl Port<'_> {
    fn build(&self) -> ServicePort {
        // Ports are at most 65535.
        let number = i32::try_from(self.number).unwrap_or_default();
        ServicePort {
            name: Some(self.name.clone().into_owned()),
            port: number,
            protocol: Some("TCP".to_owned()),
            app_protocol: Some(self.app_protocol.to_owned()).filter(|text| !text.is_empty()),
            target_port: Some(IntOrString::Int(number)),
            ..ServicePort::default()
        }
    }

    fn is(&self, there: &objects::ServicePort) -> bool {
        there.name == self.name
            && there.port == i64::from(self.number)
            && there.app_protocol == self.app_protocol
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
