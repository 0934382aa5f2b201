//! Restores a workspace from what lies in the store.

use crate::data::download;
use crate::init::{Context, InitError};
use crate::outcome::{Restored, Step};
use crate::path::RelPath;
use crate::plan::initializer::{Backup, Snapshot};
use crate::staging::Staging;
use wsman_store::Store;
use wsman_store::manifest::{BackupName, Manifest, prefix};

type Outcome = Result<(Step, Option<Restored>), InitError>;

/// Restores the snapshot or backup of that name.
pub async fn snapshot(context: &Context<'_>, snapshot: &Snapshot) -> Outcome {
    if snapshot.from_volume_snapshot {
        return Ok(volume());
    }
    let plan = context.plan;
    let name = BackupName::parse(&snapshot.snapshot)?;
    if name.owner != plan.owner {
        let text = format!("the backup {} belongs to another owner", snapshot.snapshot);
        return Err(InitError::Other(text));
    }
    let store = open(context)?;
    if name.bucket != store.bucket {
        let text = format!(
            "the backup {} lies in another bucket than {}, which is the store of this workspace",
            snapshot.snapshot, store.bucket
        );
        return Err(InitError::Other(text));
    }
    let Some(file) = store.resolve(&name).await? else {
        let text = format!(
            "nothing was saved as {}: it is not saved yet, or saving it failed",
            snapshot.snapshot
        );
        return Err(InitError::Other(text));
    };
    let manifest = store.manifest(&name.owner, &name.workspace, &file).await?;
    restore(context, &store, &file, &manifest).await
}

/// Restores the newest content of this workspace.
pub async fn backup(context: &Context<'_>, backup: &Backup) -> Outcome {
    if backup.from_volume_snapshot {
        return Ok(volume());
    }
    let plan = context.plan;
    let store = open(context)?;
    let Some((name, manifest)) = store.latest(&plan.owner, &plan.workspace).await? else {
        return Err(InitError::Other(
            "there is no backup of this workspace".into(),
        ));
    };
    restore(context, &store, &name, &manifest).await
}

/// The volume came with its content.
fn volume() -> (Step, Option<Restored>) {
    (
        Step {
            target: "volume snapshot".into(),
            ..Step::default()
        },
        None,
    )
}

fn open(context: &Context<'_>) -> Result<Store, InitError> {
    match &context.plan.store {
        Some(settings) => Ok(Store::create(settings)?),
        None => Err(InitError::Other(
            "the plan names no store to restore from".into(),
        )),
    }
}

async fn restore(context: &Context<'_>, store: &Store, file: &str, manifest: &Manifest) -> Outcome {
    let plan = context.plan;
    if manifest.owner != plan.owner {
        return Err(InitError::Other(
            "the backup belongs to another owner".into(),
        ));
    }
    let home = prefix(&manifest.owner, &manifest.workspace);
    let name = format!("{home}/{file}@{}", store.bucket);
    // A manifest that names data of another workspace was not written by a guest.
    if !manifest.data.starts_with(&format!("{home}/data/")) {
        return Err(InitError::Other(format!(
            "the manifest of {name} names data of others"
        )));
    }
    let staging = Staging::new(&plan.root)
        .map_err(|error| InitError::Io(plan.root.display().to_string(), error))?;
    let counted = download(store, manifest, staging.path(), plan.limits()).await?;
    staging.place(&RelPath::default())?;
    let restored = Restored {
        name: name.clone(),
        created: manifest.created.clone(),
        is_final: manifest.is_final,
    };
    let step = Step {
        target: name,
        bytes: counted.bytes,
        files: counted.files,
        ..Step::default()
    };
    Ok((step, Some(restored)))
}
