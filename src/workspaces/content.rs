//! The content of a workspace: its initialisation and its backup (docs/protocol.md#content).

pub mod backups;
pub mod guest;
pub mod last_backup;
pub mod remote;
pub mod report;
pub mod step;
pub mod volume;
pub mod wsdaemon;

use wsman_store::manifest::{BackupName, Kind};

use self::report::Saving;
use super::entry::Workspace;
use super::start_request::StartRequest;
use super::{id, initializer};
use crate::action::{Command, VolumeSnapshotPlan};
use crate::config::Manager;
use crate::error::Error;
use crate::index::noun::Group;
use crate::proto::wsman::WorkspacePhase;

/// Who fills a workspace and saves its content.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Content {
    /// Nobody: initialised from the start, disposed of at once.
    #[default]
    None,
    /// Containers of the pod; their reports are in its status.
    Guest,
    /// The ws-daemon of the node; its outcomes are marks.
    WsDaemon,
}

/// Checks that the content of a request can be initialised.
///
/// # Errors
/// [`Error::Invalid`] for what no guest may do, with every violation; [`Error::Precondition`] for every initializer
/// except `empty` where there is no guest, and for saved content where there is no store.
pub fn check(request: &StartRequest, manager: &Manager) -> Result<(), Error> {
    let faults = volume::faults(request, manager);
    if !faults.is_empty() {
        return Err(id::invalid(faults));
    }
    if !request.needs_content() {
        return Ok(());
    }
    let guest = manager.guest.as_ref();
    if guest.is_none() && manager.daemon().is_none() {
        return Err(missing(
            "spec.initializer asks for content, but this cluster has no content backend: only `empty` can be started",
        ));
    }
    let Some(initializer) = &request.spec.initializer else {
        return Ok(());
    };
    let allow_files = guest.is_some_and(|guest| guest.git.allow_file_remotes);
    let faults = remote::faults(initializer, allow_files);
    if !faults.is_empty() {
        return Err(id::invalid(faults));
    }
    // A ws-daemon has its own store.
    let lacks_store = guest.is_some_and(|guest| guest.store.is_none());
    if lacks_store && initializer::needs_store(initializer) {
        return Err(missing(
            "spec.initializer asks for saved content, but content.storage is not configured",
        ));
    }
    Ok(())
}

/// What is saved on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Save {
    /// Kept until it is deleted.
    Snapshot {
        /// The caller gets its name before it is saved.
        return_immediately: bool,
    },
    /// One of the newest, which are kept.
    Backup,
}

/// What saves the content of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Saver {
    /// Its guest.
    Guest {
        /// What asks the guest to save.
        command: Command,
        /// The name that the caller gets before anything is saved under it.
        early: Option<Url>,
    },
    /// The ws-daemon of this node; empty for none.
    Node(String),
    /// A snapshot of its volume.
    Volume(VolumeSnapshotPlan),
}

/// Returns what saves the content of a running workspace (docs/protocol.md#what-each-call-checks). `ask` names this request:
/// running a command again saves nothing anew.
///
/// # Errors
/// [`Error::Precondition`]: a snapshot of a workspace that does not run, or nothing that could save it; those of
/// [`volume::on_request`].
pub fn save(
    group: &Group<Workspace>,
    manager: &Manager,
    save: Save,
    ask: &str,
) -> Result<Saver, Error> {
    if let Some(plan) = volume::on_request(group, manager, save, ask) {
        return plan.map(Saver::Volume);
    }
    let (kind, what, early) = match save {
        Save::Snapshot { return_immediately } => {
            (Kind::Snapshot, "take a snapshot", return_immediately)
        }
        Save::Backup => (Kind::Backup, "back up the workspace", false),
    };
    if kind == Kind::Snapshot && group.phase() != WorkspacePhase::Running {
        return Err(Error::Precondition {
            state: "NOT_RUNNING",
            why: "can only take snapshots of running workspaces".to_owned(),
        });
    }
    let newest = group.newest();
    if manager.daemon().is_some() {
        return Ok(Saver::Node(newest.node.to_string()));
    }
    let saves = newest.entry.state.saving == Saving::Waits;
    let guest = manager.guest.as_ref().filter(|_| saves);
    let Some((guest, store)) = guest.and_then(|guest| Some((guest, guest.store.as_ref()?))) else {
        let why = match manager.guest {
            None => "this cluster has no content backend",
            Some(_) => "it runs without a guest that saves its content",
        };
        return Err(missing(&format!("cannot {what}: {why}")));
    };
    let name = || {
        let metadata = group.status().read().metadata.unwrap_or_default();
        let (owner, workspace) = (&metadata.owner, &metadata.meta_id);
        BackupName::of_request(owner, workspace, kind, ask, store.settings.bucket()).to_string()
    };
    Ok(Saver::Guest {
        command: Command {
            pod: newest.pod.clone(),
            container: report::SAVE,
            argv: guest::request(guest, kind, ask, early),
            doing: what.to_owned(),
        },
        early: early.then(name),
    })
}

/// Returns where the content is or, with an early name, will be, from what the guest printed.
///
/// # Errors
/// [`Error::Unavailable`] with its reason.
pub fn saved(save: Save, early: Option<Url>, output: &str) -> Result<Url, Error> {
    report::saved_on_request(early, output).map_err(|why| Error::Unavailable {
        why: match save {
            Save::Snapshot { .. } => format!("cannot take snapshot: {why}"),
            Save::Backup => format!("cannot back up the workspace: {why}"),
        },
        retry_after: None,
    })
}

/// Where saved content is.
pub type Url = String;

fn missing(why: &str) -> Error {
    Error::Precondition {
        state: "NO_CONTENT_BACKEND",
        why: why.to_owned(),
    }
}
