//! How a stop is carried out: the newest pod of the workspace is marked, and the lifecycle hands the mark on.

use tokio::time::Instant;

use crate::action::{Action, Mark};
use crate::cluster::act::Outcome;
use crate::error::Error;
use crate::grpc::lookup::Lookup;
use crate::index;

/// How often a call looks for the pod of its workspace.
pub(super) const ATTEMPTS: usize = 5;

/// Marks a workspace. What is gone by then is looked for at the API server, a few times because the workspace may move on
/// meanwhile.
pub(super) async fn stop(
    lookup: &Lookup,
    id: &str,
    mark: &Mark,
    deadline: Instant,
) -> Result<(), Error> {
    let actor = lookup.actor();
    let known = lookup.hub().read(|index| {
        let newest = index.by_id(id)?.newest();
        Some(newest.pod.clone())
    });
    let mut pods: Vec<_> = known.into_iter().collect();
    for _ in 0..ATTEMPTS {
        if pods.is_empty() {
            let found = lookup.find(id, deadline).await?;
            pods = found.iter().map(index::reference).collect();
        }
        if pods.is_empty() {
            return Ok(());
        }
        let mut marked = false;
        for pod in pods.drain(..) {
            let action = Action::Mark(pod, mark.clone());
            marked |= matches!(actor.act(&action, deadline).await?, Outcome::Done);
        }
        if marked {
            return Ok(());
        }
    }
    Err(keeps_changing(id))
}

/// The error of a call that found something else each time.
pub(super) fn keeps_changing(id: &str) -> Error {
    Error::Aborted {
        why: format!("workspace {id} keeps changing"),
    }
}
