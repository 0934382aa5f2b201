//! Volume snapshots on request: taken of a running workspace, found for a new one, deleted.

use tokio::time::{Instant, timeout_at};

use crate::action::{Action, VolumeSnapshotPlan};
use crate::clock::Clock;
use crate::cluster::act::Outcome;
use crate::config::Manager;
use crate::error::Error;
use crate::grpc::lookup::Lookup;
use crate::objects::VolumeSnapshot;
use crate::proto::wsman::DeleteVolumeSnapshotRequest;
use crate::workspaces::content::volume::{self, Deletion, Progress, Source};

/// Metadata of a response: finalizers of others that keep what was deleted.
pub(super) const KEPT_BY: &str = "wsman-kept-by";

/// Takes a snapshot of the volume of a workspace, and returns its name. With a clock to wait by it is ready then.
///
/// # Errors
/// Those of the API server; [`Error::Unavailable`] if it fails, [`Error::Deadline`] if it is late: it stays, and may become
/// ready.
pub(super) async fn save(
    lookup: &Lookup,
    id: &str,
    plan: VolumeSnapshotPlan,
    wait: Option<&Clock>,
    deadline: Instant,
) -> Result<String, Error> {
    let name = plan.name.clone();
    let create = Action::CreateVolumeSnapshot(Box::new(plan));
    if let Outcome::Gone = lookup.actor().act(&create, deadline).await? {
        return Err(lookup.not_found(id));
    }
    if let Some(clock) = wait {
        await_ready(lookup, &name, clock, deadline).await?;
    }
    Ok(name)
}

async fn await_ready(
    lookup: &Lookup,
    name: &str,
    clock: &Clock,
    deadline: Instant,
) -> Result<(), Error> {
    let mut last = String::new();
    let ready = lookup.actor().follow_volume_snapshot(name, |found| {
        match volume::progress(found, clock.now()) {
            Progress::Ready(_) => Some(Ok(())),
            Progress::Failed(why) => Some(Err(why)),
            Progress::Waits(error) => {
                last = error.map_or(String::new(), |error| format!(": {error}"));
                None
            }
        }
    });
    match timeout_at(deadline, ready).await {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(why))) => Err(Error::Unavailable {
            why: format!("cannot take snapshot: volume snapshot {name} {why}"),
            retry_after: None,
        }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Deadline {
            doing: format!("waiting for volume snapshot {name}{last}"),
        }),
    }
}

/// Sees to it that there is the volume snapshot that a new workspace begins with.
///
/// # Errors
/// Those of [`volume::check_source`] and of the API server.
pub(super) async fn prepare(
    lookup: &Lookup,
    source: &Source,
    deadline: Instant,
) -> Result<(), Error> {
    let actor = lookup.actor();
    let found = actor.read_volume_snapshot(&source.restore.name, deadline);
    if volume::check_source(source, found.await?.as_ref())? {
        let restore = Action::RestoreVolumeSnapshot(Box::new(source.restore.clone()));
        actor.act(&restore, deadline).await?;
    }
    Ok(())
}

/// How a deletion went.
#[derive(Debug)]
pub(super) struct Deleted {
    pub(super) was_deleted: bool,
    /// Finalizers of others that keep it, comma separated.
    pub(super) kept_by: Option<String>,
}

/// Deletes a volume snapshot.
///
/// # Errors
/// Those of [`volume::deletion`] and of the API server; [`Error::Deadline`] if one that was restored is not bound in time:
/// its driver would keep it.
pub(super) async fn delete(
    lookup: &Lookup,
    manager: &Manager,
    request: &DeleteVolumeSnapshotRequest,
    deadline: Instant,
) -> Result<Deleted, Error> {
    let (actor, name) = (lookup.actor(), &request.id);
    let nothing = Deleted {
        was_deleted: false,
        kept_by: None,
    };
    let mut found = actor.read_volume_snapshot(name, deadline).await?;
    let class = volume::deletion_class(request, manager);
    match volume::deletion(request, found.is_some(), class)? {
        Deletion::Nothing => return Ok(nothing),
        Deletion::Found => {}
        Deletion::Restore(restore) => {
            let restore = Action::RestoreVolumeSnapshot(restore);
            actor.act(&restore, deadline).await?;
            found = actor.read_volume_snapshot(name, deadline).await?;
        }
    }
    let Some(mut found) = found else {
        return Ok(nothing);
    };
    if is_unbound(&found) {
        let bound = actor.follow_volume_snapshot(name, |found| match found {
            Some(found) if is_unbound(&found) => None,
            other => Some(other),
        });
        let late = |_| Error::Deadline {
            doing: format!("waiting for volume snapshot {name} to be bound to its content"),
        };
        match timeout_at(deadline, bound).await.map_err(late)?? {
            Some(bound) => found = bound,
            None => return Ok(nothing),
        }
    }
    let delete = Action::DeleteVolumeSnapshot(name.clone(), found.metadata.uid);
    Ok(match actor.act(&delete, deadline).await? {
        Outcome::Gone => nothing,
        Outcome::Kept(finalizers) => Deleted {
            was_deleted: true,
            kept_by: Some(finalizers.join(",")),
        },
        _ => Deleted {
            was_deleted: true,
            kept_by: None,
        },
    })
}

/// Whether it was restored, and its content does not know it yet: the driver's snapshot would outlive it.
fn is_unbound(snapshot: &VolumeSnapshot) -> bool {
    !snapshot.spec.source.volume_snapshot_content_name.is_empty()
        && snapshot
            .status
            .bound_volume_snapshot_content_name
            .is_empty()
        && snapshot.metadata.deletion_timestamp.is_none()
}
