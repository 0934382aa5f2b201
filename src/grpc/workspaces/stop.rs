//! How a stop is carried out: it marks the pod or, while the pod is recreated, its record.

use tokio::time::Instant;

use crate::action::{Action, Mark, Recreate};
use crate::cluster::act::Outcome;
use crate::error::Error;
use crate::grpc::lookup::Lookup;
use crate::index;

/// Attempts to find the object of a workspace.
pub(super) const ATTEMPTS: usize = 5;

/// Marks a workspace. If its object is gone, it looks at the API server again, a few times, because the workspace may
/// change meanwhile.
pub(super) async fn stop(
    lookup: &Lookup,
    id: &str,
    mark: &Mark,
    deadline: Instant,
) -> Result<(), Error> {
    let actor = lookup.actor();
    let (mut pods, mut records) = lookup.hub().read(|index| {
        let name = index.by_id(id).map(|entry| entry.pod.name.as_str());
        let pod = name.and_then(|name| index.pod(name));
        let record = name.and_then(|name| index.record(name));
        let pods: Vec<_> = pod.map(|entry| entry.pod.clone()).into_iter().collect();
        let records: Vec<_> = record.map(|record| record.at.clone()).into_iter().collect();
        (pods, records)
    });
    for _ in 0..ATTEMPTS {
        if pods.is_empty() && records.is_empty() {
            records = actor.find_records(id, deadline).await?;
            let found = actor.find_pods(id, deadline).await?;
            pods = found.iter().map(index::reference).collect();
        }
        let marks = |pod| Action::Mark(pod, mark.clone());
        let record_marks = |at| Action::Recreate(Recreate::MarkRecord(at, mark.clone()));
        let all = pods.drain(..).map(marks);
        let all: Vec<_> = all.chain(records.drain(..).map(record_marks)).collect();
        if all.is_empty() {
            return Ok(());
        }
        let mut marked = false;
        for action in &all {
            marked |= matches!(actor.act(action, deadline).await?, Outcome::Done);
        }
        if marked {
            return Ok(());
        }
    }
    Err(keeps_changing(id))
}

/// The error of a call whose every attempt found another object.
pub(super) fn keeps_changing(id: &str) -> Error {
    Error::Aborted {
        why: format!("workspace {id} keeps changing"),
    }
}
