//! What a start answers when its pod exists already: the same again for the same request (design 3 "Start").

use super::marks::annotation;
use super::plan::Plan;
use crate::error::Error;
use crate::objects::Pod;
use crate::proto::wsman::StartWorkspaceResponse;

/// Returns the answer that the start of `pod` got.
///
/// # Errors
/// [`Error::Exists`] if another request made the pod; [`Error::Precondition`] if the pod is on its way out.
pub fn answer(plan: &Plan, pod: &Pod) -> Result<StartWorkspaceResponse, Error> {
    let mark = |key| pod.metadata.annotation(key).unwrap_or_default().to_owned();
    if mark(annotation::SPEC_SHA256) != plan.fingerprint {
        return Err(Error::Exists {
            id: plan.id.clone(),
        });
    }
    if pod.metadata.deletion_timestamp.is_some() {
        let why = format!(
            "workspace {} is stopping; its id is free again once it is STOPPED",
            plan.id
        );
        return Err(Error::Precondition {
            state: "STOPPING",
            why,
        });
    }
    Ok(StartWorkspaceResponse {
        url: mark(annotation::URL),
        owner_token: mark(annotation::OWNER_TOKEN),
    })
}
