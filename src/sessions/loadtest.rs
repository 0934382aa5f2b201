//! Turns a LoadTest of <https://github.com/grpc/test-infra> into what starts a session, or says of every field why it
//! cannot (docs/sessions.md#loadtests).

mod fields;
#[cfg(test)]
mod tests;

use serde_json::{Value, json};

use crate::error::FieldViolation;
use crate::names::{is_label_value, is_name_part};
use crate::proto::wsman::sessions::v1::{Component, Peers, Port, SessionSpec, StartSessionRequest};
use fields::{Faults, Object};

/// Its API version.
const API: &str = "e2etest.grpc.io/v1";
/// Longest id of a session.
const LONGEST_ID: usize = 40;
/// Port on which servers and clients wait for the driver.
const DRIVER_PORT: u16 = 10_000;
/// Port of a benchmark's server.
const SERVER_PORT: u16 = 10_010;
/// Seconds from SIGTERM to SIGKILL, for commands that limit themselves.
const KILL_AFTER: u16 = 30;
/// What API servers and clients put into objects: not a part of a test.
const OF_SERVERS: [&str; 7] = [
    "creationTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
    "finalizers",
];

/// Converts a LoadTest.
///
/// # Errors
/// Every field that has no meaning here, or no value that fits.
pub fn convert(test: &Value) -> Result<StartSessionRequest, Vec<FieldViolation>> {
    let faults = Faults::default();
    let request = request(test, &faults);
    match faults.into_inner() {
        faults if faults.is_empty() => Ok(request),
        faults => Err(faults),
    }
}

fn request(test: &Value, faults: &Faults) -> StartSessionRequest {
    let mut test = Object::root(test, faults);
    for (name, wanted) in [("apiVersion", API), ("kind", "LoadTest")] {
        if test.text(name) != wanted {
            test.refuse(name, &format!("is not {wanted}"));
        }
    }
    test.ignore(&["status"]);
    let mut metadata = test.object("metadata");
    let id = id(&mut metadata);
    let labels = metadata.texts("labels");
    for (key, value) in &labels {
        if !is_name_part(key) || !is_label_value(value) {
            metadata.refuse(
                "labels",
                &format!("{key}={value} can be no label of a session"),
            );
        }
    }
    let mut annotations = metadata.texts("annotations");
    annotations.retain(|key, _| !key.starts_with("kubectl.kubernetes.io/"));
    if annotations.remove("enablePrometheus").is_some() {
        let why = "has enablePrometheus, and nothing reads metrics of components here";
        metadata.refuse("annotations", why);
    }
    let queue = annotations.remove("pool").unwrap_or_default();
    metadata.ignore(&OF_SERVERS);
    metadata.end(|name| match name {
        "namespace" => "sessions are in the namespace of their daemon",
        _ => "has no meaning here",
    });
    let mut spec = test.object("spec");
    let timeout = spec.seconds("timeoutSeconds");
    let ttl = spec.seconds("ttlSeconds");
    let scenarios = scenarios(&mut spec);
    let mut components = Vec::new();
    for (role, mut members) in [
        ("driver", spec.one("driver")),
        ("server", spec.many("servers")),
        ("client", spec.many("clients")),
    ] {
        for (at, member) in members.iter_mut().enumerate() {
            let mut component = component(role, at, member);
            let env = &mut component.env;
            let mut default = |name: &str, value: String| {
                env.entry(name.to_owned()).or_insert(value);
            };
            default("DRIVER_PORT", DRIVER_PORT.to_string());
            default("KILL_AFTER", KILL_AFTER.to_string());
            if let Some(timeout) = timeout {
                default("POD_TIMEOUT", timeout.to_string());
            }
            components.push(component);
        }
    }
    match components
        .first_mut()
        .filter(|first| first.role == "driver")
    {
        Some(driver) => {
            driver.annotations.extend(annotations);
            if let Some(scenarios) = scenarios {
                driver.env.insert("SCENARIO_JSON".to_owned(), scenarios);
            }
        }
        None => spec.refuse(
            "driver",
            "is missing: defaults of languages are not known here",
        ),
    }
    spec.end(|name| match name {
        "results" => {
            "results are not uploaded: the driver's log and its termination message are the result"
        }
        _ => "has no meaning here",
    });
    test.end(|_| "is no field of a LoadTest");
    let duration = |seconds: u32| pbjson_types::Duration {
        seconds: seconds.into(),
        nanos: 0,
    };
    StartSessionRequest {
        id,
        spec: Some(SessionSpec {
            components,
            peers: Some(Peers {
                variable: "QPS_WORKERS".to_owned(),
                port: DRIVER_PORT.into(),
                role_order: vec!["server".to_owned(), "client".to_owned()],
                file: String::new(),
            }),
            queue,
            deadline: timeout.map(duration),
            ttl: ttl.map(duration),
            labels,
            ..SessionSpec::default()
        }),
        ..StartSessionRequest::default()
    }
}

/// The name of the test. What makes a generated one unique, `session run` adds.
fn id(metadata: &mut Object<'_>) -> String {
    let (name, generated) = (metadata.text("name"), metadata.text("generateName"));
    let id = match name.as_str() {
        "" => generated.trim_end_matches('-').to_owned(),
        _ => name,
    };
    if id.is_empty() {
        metadata.refuse("name", "is missing");
    } else if id.len() > LONGEST_ID {
        let why =
            format!("is longer than {LONGEST_ID} characters, the most of the id of a session");
        metadata.refuse("name", &why);
    }
    id
}

/// The scenarios in one line, with the port of the servers.
fn scenarios(spec: &mut Object<'_>) -> Option<String> {
    let text = spec.text("scenariosJSON");
    if text.trim().is_empty() {
        return None;
    }
    let Ok(mut scenarios) = serde_json::from_str::<Value>(&text) else {
        spec.refuse("scenariosJSON", "is no JSON");
        return None;
    };
    let list = match scenarios.get_mut("scenarios") {
        Some(Value::Array(list)) => list.iter_mut().collect(),
        Some(one) => vec![one],
        None => vec![&mut scenarios],
    };
    for scenario in list {
        for name in ["server_config", "serverConfig"] {
            if let Some(Value::Object(config)) = scenario.get_mut(name) {
                let port = config.entry("port").or_insert(json!(0));
                if *port == json!(0) {
                    *port = json!(SERVER_PORT);
                }
            }
        }
    }
    Some(scenarios.to_string())
}

/// A driver, server or client: its first container.
fn component(role: &str, at: usize, member: &mut Object<'_>) -> Component {
    let name = match (role, member.text("name").as_str()) {
        ("driver", "") => role.to_owned(),
        (role, "") => format!("{role}-{at}"),
        (role, name) => format!("{role}-{name}"),
    };
    let mut annotations = std::collections::BTreeMap::new();
    let language = member.text("language");
    if !language.is_empty() {
        annotations.insert("language".to_owned(), language);
    }
    let ports = match role {
        "driver" => Vec::new(),
        _ => vec![Port {
            name: "driver".to_owned(),
            port: DRIVER_PORT.into(),
        }],
    };
    let mut component = Component {
        name,
        role: role.to_owned(),
        pool: member.text("pool"),
        annotations,
        ports,
        ..Component::default()
    };
    // Before 2022 it was one container.
    let mut containers = member.one_or_many("run");
    let more = containers.len().saturating_sub(1);
    match containers.first_mut() {
        Some(first) => container(first, &mut component),
        None => member.refuse(
            "run",
            "is missing: defaults of languages are not known here",
        ),
    }
    if more > 0 {
        member.refuse("run", "has more than one container: a component has one");
    }
    member.end(|name| match name {
        "clone" | "build" => "nothing is built here: run an image that holds what was built",
        "metricsPort" => "nothing reads metrics of components here",
        _ => "has no meaning here",
    });
    component
}

fn container(container: &mut Object<'_>, component: &mut Component) {
    component.image = container.text("image");
    if component.image.is_empty() {
        let why = "is missing: defaults of languages are not known here";
        container.refuse("image", why);
    }
    component.command = container.list("command");
    component.args = container.list("args");
    for mut variable in container.many("env") {
        let (name, value) = (variable.text("name"), variable.text("value"));
        if name == "SCENARIO_JSON" && component.role == "driver" {
            variable.refuse("name", "is SCENARIO_JSON, which has the scenarios");
        }
        variable.end(|name| match name {
            "valueFrom" => "values are given, and Secrets are mounted: see secrets of a component",
            _ => "has no meaning here",
        });
        component.env.insert(name, value);
    }
    if container.has("resources") {
        let mut resources = container.object("resources");
        component.requests = resources.texts("requests");
        resources.end(|_| "only requests have a meaning: a component has a machine of its own");
    }
    // Ports only inform. As those of a component they would be waited for, and a server of a benchmark opens its own when
    // the driver asks it to.
    container.ignore(&["name", "ports"]);
    container.end(|_| "has no meaning here");
}
