//! What was saved of workspaces: which of it a call lists, and how an answer shows it (docs/protocol.md#content).

use wsman_store::manifest::{BackupName, Kind, Manifest, parse_manifest_name, segment, unsegment};

use crate::error::{Error, FieldViolation};
use crate::proto::wsman::WorkspaceStatus;
use crate::proto::wsman::backups::v1::{Backup, BackupKind, ListBackupsRequest};
use crate::redact::show;
use crate::workspaces::id;
use crate::workspaces::status::timestamp;

/// Most backups of one answer.
pub const LARGEST_PAGE: usize = 100;
/// As many unless the request says how many.
const PAGE: usize = 50;
/// Longest owner or meta id; keys of stores have at most 1,024 bytes, of which each of these may take three.
const LONGEST: usize = 128;

/// A request that was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Instance id; empty where an owner is asked for.
    pub id: String,
    /// Owner; with an id it may be empty.
    pub owner: String,
    /// Meta id; empty for all.
    pub meta_id: String,
    pub page: usize,
    pub after: Option<Cursor>,
}

/// The last backup of the page before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor {
    pub workspace: String,
    pub manifest: String,
}

/// Whose backups are listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whose {
    pub owner: String,
    /// `None`: all workspaces of the owner.
    pub workspace: Option<String>,
}

impl Cursor {
    /// Returns it as a page token.
    pub fn token(&self) -> String {
        format!("{}/{}", segment(&self.workspace), self.manifest)
    }

    fn parse(token: &str) -> Option<Self> {
        let (workspace, manifest) = token.split_once('/')?;
        parse_manifest_name(manifest)?;
        Some(Self {
            workspace: unsegment(workspace)?,
            manifest: manifest.to_owned(),
        })
    }
}

/// Checks a request.
///
/// # Errors
/// [`Error::Invalid`] with every violation.
pub fn check(request: ListBackupsRequest) -> Result<Asked, Error> {
    let mut faults = Vec::new();
    if !request.id.is_empty() {
        faults.extend(id::fault(&request.id));
    } else if request.owner.is_empty() {
        let why = "cannot be blank without id: say whose backups to list";
        faults.push(FieldViolation::new("owner", why));
    }
    for (field, value) in [("owner", &request.owner), ("meta_id", &request.meta_id)] {
        if value.len() > LONGEST {
            let why = format!("has {} bytes, at most {LONGEST} are possible", value.len());
            faults.push(FieldViolation::new(field, why));
        }
    }
    if request.page_size < 0 {
        let why = format!("is {}, must not be negative", request.page_size);
        faults.push(FieldViolation::new("page_size", why));
    }
    let after = Some(request.page_token.as_str()).filter(|token| !token.is_empty());
    let after = after.map(|token| {
        Cursor::parse(token).ok_or_else(|| {
            let why = format!("is {}, no token of an answer", show(token));
            FieldViolation::new("page_token", why)
        })
    });
    let after = after.transpose().unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    if !faults.is_empty() {
        return Err(id::invalid(faults));
    }
    Ok(Asked {
        id: request.id,
        owner: request.owner,
        meta_id: request.meta_id,
        page: match usize::try_from(request.page_size).unwrap_or_default() {
            0 => PAGE,
            asked => asked.min(LARGEST_PAGE),
        },
        after,
    })
}

/// Returns whose backups a request lists that names no workspace by its id.
pub fn of_owner(asked: &Asked) -> Whose {
    Whose {
        owner: asked.owner.clone(),
        workspace: Some(asked.meta_id.clone()).filter(|id| !id.is_empty()),
    }
}

/// Returns whose backups a request lists that names the workspace with this status; `None` if that is another's.
pub fn of_workspace(asked: &Asked, status: &WorkspaceStatus) -> Option<Whose> {
    let metadata = status.metadata.as_ref()?;
    let fits = |asked: &str, is: &str| asked.is_empty() || asked == is;
    let is_theirs = fits(&asked.owner, &metadata.owner) && fits(&asked.meta_id, &metadata.meta_id);
    is_theirs.then(|| Whose {
        owner: metadata.owner.clone(),
        workspace: Some(metadata.meta_id.clone()),
    })
}

/// Returns what an answer says of a backup.
pub fn shown(name: &BackupName, manifest: &Manifest) -> Backup {
    let git = manifest.git.as_ref();
    Backup {
        instance_id: manifest.instance.clone(),
        created: manifest.created.parse().ok().map(timestamp),
        r#final: manifest.is_final,
        size: i64::try_from(manifest.size).unwrap_or(i64::MAX),
        files: i64::try_from(manifest.files).unwrap_or(i64::MAX),
        commit: git.map_or_else(String::new, |git| git.latest_commit.clone()),
        problem: match manifest.owner == name.owner && manifest.workspace == name.workspace {
            true => String::new(),
            false => "its manifest names another owner or workspace".to_owned(),
        },
        ..named(name)
    }
}

/// Returns what an answer says of a backup whose manifest cannot be read.
pub fn unreadable(name: &BackupName, why: String) -> Backup {
    Backup {
        problem: why,
        ..named(name)
    }
}

fn named(name: &BackupName) -> Backup {
    let kind = match parse_manifest_name(&name.manifest).map(|name| name.kind) {
        Some(Kind::Backup) => BackupKind::Backup,
        Some(Kind::Snapshot) => BackupKind::Snapshot,
        None => BackupKind::Unspecified,
    };
    Backup {
        name: name.to_string(),
        kind: kind.into(),
        owner: name.owner.clone(),
        meta_id: name.workspace.clone(),
        ..Backup::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wsman::WorkspaceMetadata;

    #[test]
    fn every_violation_is_named() {
        let request = ListBackupsRequest {
            meta_id: "m".repeat(200),
            page_size: -1,
            page_token: "../0000000001-backup.json".to_owned(),
            ..ListBackupsRequest::default()
        };
        let Err(Error::Invalid { violations, .. }) = check(request) else {
            panic!("it passed");
        };
        let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["owner", "meta_id", "page_size", "page_token"]);
    }

    #[test]
    fn pages_are_bounded_and_tokens_come_back() {
        let cursor = Cursor {
            workspace: "a b/../c".to_owned(),
            manifest: "0000000007-snapshot.json".to_owned(),
        };
        let request = ListBackupsRequest {
            owner: "o".to_owned(),
            page_size: 5_000,
            page_token: cursor.token(),
            ..ListBackupsRequest::default()
        };
        let asked = check(request).unwrap();
        assert_eq!(asked.page, LARGEST_PAGE);
        assert_eq!(asked.after, Some(cursor));
    }

    #[test]
    fn a_workspace_of_another_owner_is_not_there() {
        let asked = |owner: &str| {
            check(ListBackupsRequest {
                id: "i".to_owned(),
                owner: owner.to_owned(),
                ..ListBackupsRequest::default()
            })
            .unwrap()
        };
        let status = WorkspaceStatus {
            metadata: Some(WorkspaceMetadata {
                owner: "jane".to_owned(),
                meta_id: "demo".to_owned(),
                ..WorkspaceMetadata::default()
            }),
            ..WorkspaceStatus::default()
        };
        assert_eq!(of_workspace(&asked("eve"), &status), None);
        let whose = Whose {
            owner: "jane".to_owned(),
            workspace: Some("demo".to_owned()),
        };
        assert_eq!(of_workspace(&asked(""), &status), Some(whose.clone()));
        assert_eq!(of_workspace(&asked("jane"), &status), Some(whose));
    }
}
