//! The Services of a workspace, built from the marks of its pod alone: at the start and whenever one has to be repaired
//! (docs/protocol.md#services-and-addresses).

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
use crate::action::Mark;
use crate::error::Error;
use crate::objects;
use crate::proto::wsman::{ExposedPorts, PortProtocol, PortSpec, PortVisibility};

/// Most ports of one workspace: an EndpointSlice, which Kubernetes makes of a Service, holds no more.
pub const MAX_PORTS: usize = 100;
/// The regular expression of the numbers of ports, 1 to 65535.
pub const PORT: &str =
    "0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

/// The cluster IP of a Service that has none.
const HEADLESS: &str = "None";

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
///
/// A headless one has no cluster IP: its name resolves to the pod. It cannot map a port to another, so a Service of
/// which one port does has a cluster IP even then.
pub fn of_pod(
    namespace: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
    headless: bool,
) -> Vec<Service> {
    let Some(prefix) = annotations.get(annotation::SERVICE_PREFIX) else {
        return Vec::new();
    };
    let build = |name: &str, kind, ports: &[Port<'_>]| {
        let headless = headless && !ports.iter().any(Port::maps);
        let mut service = service(namespace, name, kind, labels);
        if let Some(spec) = &mut service.spec {
            spec.ports = Some(ports.iter().map(Port::build).collect());
            spec.cluster_ip = headless.then(|| HEADLESS.to_owned());
        }
        service
    };
    let ide = build(&names::ide_service(prefix), "ide", &ide_ports());
    let exposed = annotations
        .get(annotation::EXPOSED_PORTS)
        .map(|text| exposed_ports(decode_ports(text)))
        .unwrap_or_default();
    let name = names::ports_service(prefix);
    let ports = (!exposed.is_empty()).then(|| build(&name, "ports", &exposed));
    std::iter::once(ide).chain(ports).collect()
}

/// Longest text of a refusal: webhooks may say much.
const MAX_REFUSAL: usize = 1 << 10;

/// Returns the text of a refusal as the pod keeps it.
pub fn refusal(error: &Error) -> String {
    let mut text = error.to_string();
    let mut end = text.len().min(MAX_REFUSAL);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// Returns the mark that says why a Service was refused, or that none is any more.
pub fn refused(why: Option<String>) -> Mark {
    let key = annotation::SERVICES_REFUSED.to_owned();
    let mut mark = Mark::default();
    match why {
        Some(why) => drop(mark.set.insert(key, why)),
        None => mark.remove.push(key),
    }
    mark
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

/// A Service that is there.
#[derive(Debug, Clone, Copy, Default)]
pub struct Served<'a> {
    /// It has no cluster IP.
    pub headless: bool,
    /// Its ports, in order.
    pub ports: &'a [objects::ServicePort],
}

impl<'a> Served<'a> {
    /// Returns what a Service that was read serves.
    pub fn by(service: &'a objects::Service) -> Self {
        Self {
            headless: service.spec.is_headless(),
            ports: &service.spec.ports,
        }
    }

    /// Whether it serves the IDE.
    pub fn is_ide(self) -> bool {
        self.is(&ide_ports())
    }

    /// Whether it serves exactly these ports.
    pub fn is_ports(self, exposed: &[PortSpec]) -> bool {
        self.is(&exposed_ports(valid(exposed.to_vec())))
    }

    /// Whether it serves what another would.
    pub fn is_as(self, wanted: &Service) -> bool {
        self.is(&built(wanted))
    }

    /// Whether it is to be made anew to serve what another would: a headless Service maps no port, and whether a Service
    /// is headless cannot be changed.
    pub fn must_be_made_anew(self, wanted: &Service) -> bool {
        self.headless && built(wanted).iter().any(Port::maps)
    }

    /// A Service that does its work stays as it is, with a cluster IP or without.
    fn is(self, wanted: &[Port<'_>]) -> bool {
        self.ports.len() == wanted.len()
            && self.ports.iter().zip(wanted).all(|(t, w)| w.is(t))
            && !(self.headless && wanted.iter().any(Port::maps))
    }
}

/// One port of a Service, as far as it is ours to say.
struct Port<'a> {
    name: Cow<'a, str>,
    number: u32,
    target: u32,
    app_protocol: &'a str,
}

fn built(service: &Service) -> Vec<Port<'_>> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    ports.into_iter().flatten().map(Port::of).collect()
}

fn ide_ports() -> [Port<'static>; 2] {
    [("ide", IDE_PORT), ("supervisor", SUPERVISOR_PORT)].map(|(name, number)| Port {
        name: Cow::Borrowed(name),
        number: number.into(),
        target: number.into(),
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
            target: match spec.target {
                0 => spec.port,
                target => target,
            },
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
    let valid = |p: &PortSpec| (1..=65_535).contains(&p.port) && p.target <= 65_535;
    ports.retain(|p| valid(p) && seen.insert(p.port));
    ports
}

impl<'a> Port<'a> {
    fn of(port: &'a ServicePort) -> Self {
        let target = match &port.target_port {
            Some(IntOrString::Int(number)) => number.unsigned_abs(),
            _ => 0,
        };
        Self {
            name: Cow::Borrowed(port.name.as_deref().unwrap_or_default()),
            number: port.port.unsigned_abs(),
            target,
            app_protocol: port.app_protocol.as_deref().unwrap_or_default(),
        }
    }

    /// Whether the pod listens on another port.
    fn maps(&self) -> bool {
        self.target != self.number
    }

    fn build(&self) -> ServicePort {
        // Ports are at most 65535.
        let number = |port: u32| i32::try_from(port).unwrap_or_default();
        ServicePort {
            name: Some(self.name.clone().into_owned()),
            port: number(self.number),
            protocol: Some("TCP".to_owned()),
            app_protocol: Some(self.app_protocol.to_owned()).filter(|text| !text.is_empty()),
            target_port: Some(IntOrString::Int(number(self.target))),
            ..ServicePort::default()
        }
    }

    fn is(&self, there: &objects::ServicePort) -> bool {
        there.name == self.name
            && there.port == i64::from(self.number)
            && there.target_port == i64::from(self.target)
            && there.app_protocol == self.app_protocol
    }
}

/// The selector is the id and the marker: no label that a person may change cuts a workspace off.
fn service(namespace: &str, name: &str, kind: &str, labels: &BTreeMap<String, String>) -> Service {
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
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
