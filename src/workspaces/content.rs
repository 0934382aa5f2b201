//! What fills a workspace and saves what is in it. The only backend so far is none: there is nothing to do.

use super::request::StartRequest;
use crate::config::{Manager, Nodes};
use crate::error::Error;

/// Checks that somebody can fill the workspace as the request asks.
///
/// # Errors
/// [`Error::Precondition`] on plain nodes for every initializer but `empty`; Gitpod nodes fill their workspaces.
pub fn check(request: &StartRequest, manager: &Manager) -> Result<(), Error> {
    if manager.nodes != Nodes::Plain || !request.needs_content() {
        return Ok(());
    }
    let why = "spec.initializer asks for content, but this cluster has no content backend: only `empty` can be started";
    Err(Error::Precondition {
        state: "NO_CONTENT_BACKEND",
        why: why.to_owned(),
    })
}
