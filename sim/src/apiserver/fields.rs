//! The query parameter `fieldValidation`: unknown fields.

use http::Method;
use serde_json::Value;

use super::openapi;
use super::request::{Query, Target};
use super::resources::Resource;
use super::status::{Cause, Status};

/// Rejects a body with unknown fields, or returns a warning for each, as the request asks. Without the parameter it is
/// not checked.
pub(crate) fn check(
    method: &Method,
    target: &Target,
    query: &Query,
    body: &[u8],
) -> Result<Vec<String>, Status> {
    let strict = match query.get("fieldValidation") {
        "" | "Ignore" => return Ok(Vec::new()),
        "Warn" => false,
        "Strict" => true,
        other => {
            let known = ["Ignore", "Strict", "Warn"];
            let cause = Cause::unsupported("fieldValidation", other, &known);
            let kind = "CreateOptions";
            return Err(Status::invalid("meta.k8s.io", kind, "", &[cause]));
        }
    };
    // An invalid body is rejected where it is stored.
    let Ok(object) = serde_json::from_slice::<Value>(body) else {
        return Ok(Vec::new());
    };
    let unknown = openapi::unknown_fields(target.index, &object);
    let warnings: Vec<_> = unknown
        .iter()
        .map(|field| format!("unknown field {field:?}"))
        .collect();
    if !strict || warnings.is_empty() {
        return Ok(warnings);
    }
    let why = format!("strict decoding error: {}", warnings.join(", "));
    if *method != Method::PATCH {
        let (kind, version) = (target.resource.kind, Resource::VERSION);
        return Err(Status::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {kind}: {why}"
        )));
    }
    // A patch is no object.
    let shown = String::from_utf8_lossy(body);
    let cause = Cause::invalid("patch", shown.as_ref(), &why);
    Err(Status::invalid("", "", "", &[cause]))
}
