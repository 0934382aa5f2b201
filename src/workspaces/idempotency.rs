//! The response to a start whose pod exists already: the same again for the same request
//! (docs/protocol.md#what-callers-can-rely-on).

use super::marks::annotation;
use super::plan::Plan;
use super::rejected;
use crate::error::Error;
use crate::objects::Pod;
use crate::proto::wsman::StartWorkspaceResponse;

/// What an id in use is an id of, in the words that callers of this protocol know.
pub const NOUN: &str = "workspace instance";

/// Returns the response that the start of `pod` got.
///
/// # Errors
/// [`Error::Exists`] if another request created the pod; [`Error::Precondition`] if the workspace is stopping.
pub fn answer(plan: &Plan, pod: &Pod) -> Result<StartWorkspaceResponse, Error> {
    let mark = |key| pod.metadata.annotation(key).unwrap_or_default().to_owned();
    if mark(annotation::SPEC_SHA256) != plan.fingerprint {
        return Err(Error::Exists {
            noun: NOUN,
            id: plan.id.clone(),
        });
    }
    // A pod that is being replaced goes, but its workspace does not (docs/protocol.md#rejected-pods).
    let goes = pod.metadata.deletion_timestamp.is_some() && !rejected::is_under_way(&pod.metadata);
    if goes || rejected::is_asked_to_end(&pod.metadata) {
        return Err(stopping(&plan.id));
    }
    Ok(StartWorkspaceResponse {
        url: mark(annotation::URL),
        owner_token: mark(annotation::OWNER_TOKEN),
    })
}

/// Returns the error of a start whose id is not free yet.
pub fn stopping(id: &str) -> Error {
    Error::Precondition {
        state: "STOPPING",
        why: format!("workspace {id} is stopping; its id is free again once it is STOPPED"),
    }
}
