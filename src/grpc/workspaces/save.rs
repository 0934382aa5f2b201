//! Saves the content of a workspace on request, by the guest in its pod.

use tokio::time::Instant;

use crate::config::Manager;
use crate::error::Error;
use crate::grpc::lookup::Lookup;
use crate::workspaces::content::{self, Save};

/// Saves and returns where the content is. `ask` names the request.
///
/// # Errors
/// Those of [`content::save`], of the command, and of the guest.
pub(super) async fn save(
    lookup: &Lookup,
    manager: &Manager,
    id: &str,
    save: Save,
    ask: String,
    deadline: Instant,
) -> Result<String, Error> {
    let command = lookup.look(id, deadline, |group| {
        content::save(group, manager, save, &ask)
    });
    let command = command.await?.ok_or_else(|| lookup.not_found(id))??;
    let output = lookup.actor().run(&command, deadline).await?;
    content::saved(save, &output)
}

/// Returns the name of a new request.
///
/// # Errors
/// [`Error::Internal`] without random numbers.
pub(super) fn new_id() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| Error::Internal { why: e.to_string() })?;
    Ok(uuid::Builder::from_random_bytes(bytes)
        .into_uuid()
        .to_string())
}
