//! Turns a StartWorkspaceRequest into a [`StartRequest`], or into all its violations
//! (docs/protocol.md#limits-of-a-request).

use prost::Message;

use super::start_request::StartRequest;
use super::{classes, env, initializer, names, pvc};
use crate::config::Manager;
use crate::error::Error;
use crate::proto::wsman;
use crate::redact::show;

mod faults;
mod fields;
mod schema;

use faults::Faults;
pub use schema::schema;

/// Most bytes of a workspace's Secret from a request. The classic constant was a thousand times as large by mistake.
pub(super) const MAX_SECRETS: usize = 768 << 10;

/// Validates a request.
///
/// # Errors
/// [`Error::Invalid`] with every violation; its message starts with the classic texts.
pub fn parse(
    request: wsman::StartWorkspaceRequest,
    manager: &Manager,
) -> Result<StartRequest, Error> {
    let mut faults = Faults::default();
    let kind = wsman::WorkspaceType::try_from(request.r#type).ok();
    if let Some(spec) = &request.spec {
        classic_spec(spec, &mut faults);
    } else {
        faults.add("spec", "cannot be blank");
    }
    classic_request(&request, kind, &mut faults);
    ids(&request, kind, manager, &mut faults);
    match &request.metadata {
        Some(metadata) => fields::metadata(metadata, &mut faults),
        None => faults.add("metadata", "cannot be blank"),
    }
    if let Some(spec) = &request.spec {
        fields::spec(spec, &mut faults);
        if let Some(why) = classes::fault(&spec.class, manager) {
            faults.add("spec.class", why);
        }
        if let Some(why) = kind.and_then(|kind| pvc::fault(spec, kind, manager)) {
            faults.add("spec.feature_flags", why);
        }
    }
    faults.finish()?;
    Ok(parse_lenient(request))
}

/// Reads a request without validation, to see its objects (`render --lenient`). Absent and unknown values have their
/// default.
pub fn parse_lenient(request: wsman::StartWorkspaceRequest) -> StartRequest {
    let fingerprint = fingerprint(&request);
    let spec = request.spec.clone().unwrap_or_default();
    StartRequest {
        kind: request.r#type(),
        admission: spec.admission(),
        id: request.id,
        service_prefix: request.service_prefix,
        metadata: request.metadata.unwrap_or_default(),
        spec,
        fingerprint,
    }
}

/// Returns the hash of the request. The encoding is deterministic: fields in order, maps sorted.
fn fingerprint(request: &wsman::StartWorkspaceRequest) -> String {
    let mut request = request.clone();
    if let Some(metadata) = &mut request.metadata {
        metadata.started_at = None;
    }
    for port in request.spec.iter_mut().flat_map(|spec| &mut spec.ports) {
        port.url.clear();
    }
    names::sha256(&request.encode_to_vec())
}

/// The classic rules of a spec, with the classic texts.
fn classic_spec(spec: &wsman::StartWorkspaceSpec, faults: &mut Faults) {
    if spec.initializer.is_none() {
        faults.classic_spec("initializer", "spec.initializer", "cannot be blank");
    }
    for (i, port) in spec.ports.iter().enumerate() {
        if spec.ports[..i].iter().any(|other| other.port == port.port) {
            let why = format!("port {} is not unique", port.port);
            faults.classic_spec("ports", &format!("spec.ports[{i}].port"), &why);
        }
    }
    for (key, value) in [
        ("workspace_image", &spec.workspace_image),
        ("workspace_location", &spec.workspace_location),
    ] {
        if value.is_empty() {
            faults.classic_spec(key, &format!("spec.{key}"), "cannot be blank");
        }
    }
    let mut initializer = spec.initializer.clone().unwrap_or_default();
    let passwords = initializer::extract_secrets(&mut initializer);
    let size = env::secret_bytes(spec) + passwords.values().map(String::len).sum::<usize>();
    if size > MAX_SECRETS {
        faults.secrets(format!(
            "secrets exceed maximum permitted length ({size} > {MAX_SECRETS} bytes): \
             please reduce the numer or length of environment variables"
        ));
    }
}

/// The classic rules of a request, with the classic texts.
fn classic_request(
    request: &wsman::StartWorkspaceRequest,
    kind: Option<wsman::WorkspaceType>,
    faults: &mut Faults,
) {
    if request.id.is_empty() {
        faults.classic_request("id", "cannot be blank");
    }
    // Only headless workspaces may have none.
    if kind == Some(wsman::WorkspaceType::Regular) && request.service_prefix.is_empty() {
        faults.classic_request("service_prefix", "cannot be blank");
    }
    if kind.is_none() {
        let why = format!("value {} is out of range", request.r#type);
        faults.classic_request("type", &why);
    }
}

/// Ids become object names, label values, host names and paths: all of them are valid if the id is a DNS label and
/// short enough. So no id can inject anything into a selector or a path (F-H3, F-H4).
fn ids(
    request: &wsman::StartWorkspaceRequest,
    kind: Option<wsman::WorkspaceType>,
    manager: &Manager,
    faults: &mut Faults,
) {
    let label =
        "must consist of lower case letters, digits and '-', with a letter or digit at both ends";
    let id = &request.id;
    let pod = names::pod(kind.unwrap_or_default(), id);
    let room = 63 - (pod.len() - id.len());
    if !id.is_empty() && (!names::is_dns_label(id) || id.len() > room) {
        faults.add(
            "id",
            format!("is {}; {label}, at most {room} of them", show(id)),
        );
    }
    let prefix = &request.service_prefix;
    let room = 63 - names::ports_service("").len();
    if prefix.is_empty() {
        let headless = kind != Some(wsman::WorkspaceType::Regular);
        if headless && manager.services.exist() && id.len() > room && names::is_dns_label(id) {
            faults.add(
                "service_prefix",
                format!(
                    "is needed: the id is too long to name Services, more than {room} characters"
                ),
            );
        }
    } else if !names::is_dns_label(&prefix.to_ascii_lowercase())
        || (manager.services.exist() && prefix.len() > room)
    {
        faults.add(
            "service_prefix",
            format!("is {}; {label}, at most {room} of them", show(prefix)),
        );
    }
}

#[cfg(test)]
mod tests;
