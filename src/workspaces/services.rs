//! The Services of a workspace, built only from the marks of its pod: at the start and whenever one drifts
//! (docs/protocol.md#services-and-addresses).

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{Service, ServiceSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use prost::Message;

use super::marks::{IDENTITY, annotation, label};
use super::names;
use super::port::{IDE_PORT, SUPERVISOR_PORT};
use crate::action::{Action, BuildServices, PodRef, ServiceSync};
use crate::index::served::{Port, Served};
use crate::proto::wsman::{ExposedPorts, PortProtocol, PortSpec, PortVisibility};

/// The cluster IP of a headless Service.
const HEADLESS: &str = "None";

/// Returns the Services of the pod with these marks: that of the IDE, and that of the exposed ports, if there are any.
/// Without owner references. The same marks always give the same Services.
///
/// A headless Service has no cluster IP: its name resolves to the pod. It cannot map a port to another one, so a
/// Service with such a port has a cluster IP even then.
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

/// Returns the action that brings the Services of a workspace in line with the marks of its pod.
pub fn sync(owner: PodRef, pod: PodRef, prefix: &str, headless: bool) -> Action {
    Action::SyncServices(Box::new(ServiceSync {
        owner,
        pod,
        names: vec![names::ide_service(prefix), names::ports_service(prefix)],
        build: BuildServices(of_pod),
        headless,
        refused: annotation::SERVICES_REFUSED,
    }))
}

/// Returns the value of the annotation [`annotation::EXPOSED_PORTS`].
pub fn encode_ports(ports: &[PortSpec]) -> String {
    let message = ExposedPorts {
        ports: ports.to_vec(),
    };
    STANDARD.encode(message.encode_to_vec())
}

/// Reads the annotation [`annotation::EXPOSED_PORTS`]; invalid text, invalid ports and duplicates are ignored.
pub fn decode_ports(text: &str) -> Vec<PortSpec> {
    let ports = STANDARD
        .decode(text)
        .ok()
        .and_then(|bytes| ExposedPorts::decode(bytes.as_slice()).ok())
        .map(|message| message.ports)
        .unwrap_or_default();
    valid(ports)
}

/// Whether a Service serves the IDE.
pub fn is_ide(served: Served<'_>) -> bool {
    served.is(&ide_ports())
}

/// Whether a Service serves exactly these ports.
pub fn is_ports(served: Served<'_>, exposed: &[PortSpec]) -> bool {
    served.is(&exposed_ports(valid(exposed.to_vec())))
}

fn ide_ports() -> [Port<'static>; 2] {
    [("ide", IDE_PORT), ("supervisor", SUPERVISOR_PORT)].map(|(name, number)| Port {
        name: Cow::Borrowed(name),
        number: number.into(),
        target: number.into(),
        app_protocol: "",
    })
}

/// Only https is set: HTTP is also the default of ports with other protocols.
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

/// The selector is the id and the marker: no label that a person may change cuts a workspace off.
fn service(namespace: &str, name: &str, kind: &str, labels: &BTreeMap<String, String>) -> Service {
    let pick = |keys: &[&str]| -> BTreeMap<String, String> {
        keys.iter()
            .filter_map(|key| Some(((*key).to_owned(), labels.get(*key)?.clone())))
            .collect()
    };
    let mut own = pick(&IDENTITY);
    own.extend(pick(&[label::MARKER]));
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
