//! Sessions as operations, and as what starts them was called before (docs/protocol.md#operations).

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use pbjson_types::{Any, Duration};
use prost::Message;

use super::request::invalid;
use crate::error::{Error, FieldViolation};
use crate::names::is_dns_label;
use crate::proto::google::longrunning::operation::Result as Ended;
use crate::proto::google::longrunning::{ListOperationsRequest, ListOperationsResponse, Operation};
use crate::proto::google::rpc;
use crate::proto::grpc::testing::benchmarking::scheduling::v1 as scheduling;
use crate::proto::wsman::sessions::v1::{
    Component, Peers, Phase, Port, Session, SessionSpec, SessionStatus, StartSessionRequest,
};
use crate::redact::show;
use scheduling::component::Kind;
use scheduling::event::Kind as Happened;
use scheduling::{StartTestSessionRequest, TestSessionMetadata, TestSessionResult};

/// What the names of operations begin with.
const OPERATIONS: &str = "operations";
/// Where workers listen for their driver.
const WORKER_PORT: u32 = 10_000;
/// The package of what is in an `Any`.
const PACKAGE: &str = "grpc.testing.benchmarking.scheduling.v1";

/// Numbers of gRPC's codes, as an operation has them.
mod code {
    pub(super) const CANCELLED: i32 = 1;
    pub(super) const UNKNOWN: i32 = 2;
    pub(super) const DEADLINE_EXCEEDED: i32 = 4;
    pub(super) const INTERNAL: i32 = 13;
}

/// Returns the name of the operation of a session.
pub fn name(id: &str) -> String {
    format!("{OPERATIONS}/{id}")
}

/// Returns the id of the session of an operation.
///
/// # Errors
/// [`Error::Invalid`] if this is no name of an operation.
pub fn id(name: &str) -> Result<&str, Error> {
    let rest = name.strip_prefix(OPERATIONS);
    let id = rest.and_then(|rest| rest.strip_prefix('/'));
    id.filter(|id| is_dns_label(id)).ok_or_else(|| {
        let why = format!(
            "is {}, not {OPERATIONS}/ and the id of a session",
            show(name)
        );
        invalid(vec![FieldViolation::new("name", why)])
    })
}

/// Returns a session as an operation.
pub fn operation(session: &Session) -> Operation {
    let status = session.status.clone().unwrap_or_default();
    let times = status.times.unwrap_or_default();
    let metadata = TestSessionMetadata {
        latest_event: Some(latest_event(&session.id, &status)),
        service_version: env!("CARGO_PKG_VERSION").to_owned(),
        create_time: times.enqueued,
    };
    Operation {
        name: name(&session.id),
        metadata: Some(any("TestSessionMetadata", &metadata)),
        done: status.done,
        result: status.done.then(|| ended(&status)),
    }
}

fn latest_event(id: &str, status: &SessionStatus) -> scheduling::Event {
    let times = status.times.unwrap_or_default();
    let (kind, time) = match status.phase() {
        Phase::Succeeded => (Happened::Done, times.finished),
        Phase::Failed if is_lost(status) => (Happened::InternalError, times.finished),
        Phase::Failed | Phase::Cancelled => (Happened::Error, times.finished),
        // What it was before it was interrupted or asked to stop.
        _ => match (times.admitted, times.running) {
            (_, Some(running)) => (Happened::Run, Some(running)),
            (Some(admitted), None) => (Happened::Provision, Some(admitted)),
            (None, None) => (Happened::Queue, times.enqueued),
        },
    };
    scheduling::Event {
        subject: format!("sessions/{id}"),
        kind: kind.into(),
        time,
        description: match (status.reason.as_str(), status.message.as_str()) {
            ("", message) => message.to_owned(),
            (reason, "") => reason.to_owned(),
            (reason, message) => format!("{reason}: {message}"),
        },
    }
}

/// Whether wsman rather than the session failed.
fn is_lost(status: &SessionStatus) -> bool {
    matches!(status.reason.as_str(), "Lost" | "Unreadable")
}

fn ended(status: &SessionStatus) -> Ended {
    let times = status.times.unwrap_or_default();
    let read = |time: pbjson_types::Timestamp| Timestamp::new(time.seconds, time.nanos).ok();
    let began = times.admitted.or(times.enqueued).and_then(read);
    let elapsed = times.finished.and_then(read).zip(began);
    let elapsed = elapsed.map(|(finished, began)| finished.duration_since(began));
    let elapsed = elapsed.filter(|elapsed| !elapsed.is_negative());
    let result = TestSessionResult {
        driver_logs: status.result.clone(),
        time_elapsed: elapsed.map(|elapsed| Duration {
            seconds: elapsed.as_secs(),
            nanos: elapsed.subsec_nanos(),
        }),
    };
    let result = any("TestSessionResult", &result);
    let code = match (status.phase(), status.reason.as_str()) {
        (Phase::Succeeded, _) => return Ended::Response(result),
        (Phase::Cancelled, _) => code::CANCELLED,
        (_, "DeadlineExceeded") => code::DEADLINE_EXCEEDED,
        _ if is_lost(status) => code::INTERNAL,
        _ => code::UNKNOWN,
    };
    Ended::Error(rpc::Status {
        code,
        message: match status.message.as_str() {
            "" => status.reason.clone(),
            message => message.to_owned(),
        },
        details: vec![result],
    })
}

fn any(name: &str, message: &impl Message) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{PACKAGE}.{name}"),
        value: message.encode_to_vec().into(),
    }
}

/// Returns a page of sessions as operations, by name.
///
/// # Errors
/// [`Error::Invalid`] with every violation.
pub fn page(
    sessions: &[Session],
    request: &ListOperationsRequest,
) -> Result<ListOperationsResponse, Error> {
    let mut faults = Vec::new();
    if !matches!(request.name.trim_end_matches('/'), "" | OPERATIONS) {
        let why = format!("is {}, not {OPERATIONS}", show(&request.name));
        faults.push(FieldViolation::new("name", why));
    }
    if !request.filter.is_empty() {
        let why = format!("is {}; there are no filters", show(&request.filter));
        faults.push(FieldViolation::new("filter", why));
    }
    let size = usize::try_from(request.page_size);
    if size.is_err() {
        let why = format!("is {}", request.page_size);
        faults.push(FieldViolation::new("page_size", why));
    }
    if !faults.is_empty() {
        return Err(invalid(faults));
    }
    let size = size.ok().filter(|size| *size > 0).unwrap_or(usize::MAX);
    let rest = sessions.iter();
    let mut rest: Vec<_> = rest
        .filter(|session| session.id > request.page_token)
        .collect();
    rest.sort_by(|a, b| a.id.cmp(&b.id));
    let is_last = rest.len() <= size;
    rest.truncate(size);
    let last = rest.last().filter(|_| !is_last);
    Ok(ListOperationsResponse {
        next_page_token: last.map(|session| session.id.clone()).unwrap_or_default(),
        operations: rest.into_iter().map(operation).collect(),
    })
}

/// Returns the session that a request starts under an id.
///
/// # Errors
/// [`Error::Invalid`] with every violation, named by the fields of the request.
pub fn start(request: &StartTestSessionRequest, id: String) -> Result<StartSessionRequest, Error> {
    let mut faults = Vec::new();
    let mut components = Vec::new();
    match &request.driver {
        None => faults.push(FieldViolation::new("driver", "is missing")),
        Some(driver) => {
            if driver.kind() != Kind::Driver {
                let why = format!("is {}, not DRIVER", kind(driver));
                faults.push(FieldViolation::new("driver.kind", why));
            }
            let mut component = component(driver, "driver", "driver".to_owned());
            if !request.scenario.is_empty() {
                let scenario = STANDARD.encode(&request.scenario);
                component.env.insert("SCENARIO_PB".to_owned(), scenario);
            }
            components.push(component);
        }
    }
    let (mut servers, mut clients) = (0, 0);
    for (at, worker) in request.workers.iter().enumerate() {
        let (role, count) = match worker.kind() {
            Kind::Server => ("server", &mut servers),
            Kind::Client => ("client", &mut clients),
            Kind::Driver | Kind::Unspecified => {
                let why = format!("is {}, neither SERVER nor CLIENT", kind(worker));
                faults.push(FieldViolation::new(format!("workers[{at}].kind"), why));
                continue;
            }
        };
        *count += 1;
        let mut component = component(worker, role, format!("{role}-{count}"));
        let kind = ("WORKER_KIND".to_owned(), role.to_owned());
        component.env.extend([kind]);
        component.ports.push(Port {
            name: "driver-port".to_owned(),
            port: WORKER_PORT,
        });
        components.push(component);
    }
    if !faults.is_empty() {
        return Err(invalid(faults));
    }
    Ok(StartSessionRequest {
        id,
        spec: Some(SessionSpec {
            components,
            decider: "driver".to_owned(),
            peers: Some(Peers {
                variable: "QPS_WORKERS".to_owned(),
                port: WORKER_PORT,
                role_order: ["server", "client"].map(str::to_owned).into(),
                ..Peers::default()
            }),
            ..SessionSpec::default()
        }),
        ..StartSessionRequest::default()
    })
}

fn component(from: &scheduling::Component, role: &str, name: String) -> Component {
    Component {
        name,
        role: role.to_owned(),
        image: from.container_image.clone(),
        pool: from.pool.clone(),
        ..Component::default()
    }
}

/// The kind of a component as its name; as its number, if it has none.
fn kind(component: &scheduling::Component) -> String {
    match Kind::try_from(component.kind) {
        Ok(kind) => kind.as_str_name().to_owned(),
        Err(_) => component.kind.to_string(),
    }
}
