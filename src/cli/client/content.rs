//! The flags of `start` for the content of a workspace.

use jiff::Timestamp;

use super::connect::Connection;
use super::words;
use crate::cli::exit::note;
use crate::proto::contentservice::workspace_initializer::Spec;
use crate::proto::contentservice::{
    CloneTargetMode, FromBackupInitializer, GitConfig, GitInitializer, SnapshotInitializer,
    WorkspaceInitializer,
};
use crate::proto::wsman::backups::v1::ListBackupsRequest;
use crate::proto::wsman::{StartWorkspaceRequest, StartWorkspaceSpec};

/// Arguments about the content.
#[derive(Debug, clap::Args)]
pub(super) struct Flags {
    /// Clone a repository: its default branch, or a branch, a tag or a commit.
    #[arg(long, value_name = "URL[@REF]", value_parser = remote, conflicts_with_all = ["from", "restore"])]
    git: Option<Remote>,

    /// Begin with a snapshot or a backup of the same owner, by the name that `snapshot` and `backup` print.
    #[arg(long, value_name = "NAME", conflicts_with = "restore")]
    from: Option<String>,

    /// Begin with the last backup of the meta id.
    #[arg(long)]
    restore: bool,
}

/// A repository and what to check out.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Remote {
    url: String,
    reference: Option<String>,
}

impl Flags {
    /// Says which backup a workspace will begin with, if it is asked to begin with the last one: what came after it is not
    /// there. A server that does not list backups says so at the start, if it matters.
    pub(super) async fn announce(&self, request: &StartWorkspaceRequest, connection: &Connection) {
        let Some(metadata) = request.metadata.as_ref().filter(|_| self.restore) else {
            return;
        };
        let newest = ListBackupsRequest {
            owner: metadata.owner.clone(),
            meta_id: metadata.meta_id.clone(),
            page_size: 1,
            ..ListBackupsRequest::default()
        };
        let Ok(answer) = connection.call(newest).await else {
            return;
        };
        let Some(backup) = answer.backups.first() else {
            return;
        };
        let created = backup.created.as_ref().and_then(words::timestamp);
        let age = words::age_of(created, Timestamp::now());
        note(&match backup.r#final {
            true => format!("begins with the final backup, {age} old"),
            false => format!(
                "begins with a backup that is {age} old and was made before the end: what was done after it is not in it"
            ),
        });
    }

    /// Sets what the flags say.
    pub(super) fn apply(&self, spec: &mut StartWorkspaceSpec, has_file: bool) {
        let initializer = if let Some(remote) = &self.git {
            let directory = remote.directory();
            if !has_file {
                spec.workspace_location = format!("/workspace/{directory}");
            }
            Spec::Git(remote.initializer(directory))
        } else if let Some(name) = &self.from {
            Spec::Snapshot(SnapshotInitializer {
                snapshot: name.clone(),
                from_volume_snapshot: false,
            })
        } else if self.restore {
            Spec::Backup(FromBackupInitializer::default())
        } else {
            return;
        };
        spec.initializer = Some(WorkspaceInitializer {
            spec: Some(initializer),
        });
    }
}

impl Remote {
    /// The directory that `git clone` would make.
    fn directory(&self) -> &str {
        let path = self.url.trim_end_matches('/');
        let name = path.rsplit(['/', ':']).next().unwrap_or_default();
        match name.strip_suffix(".git").unwrap_or(name) {
            "" => "repository",
            name => name,
        }
    }

    fn initializer(&self, directory: &str) -> GitInitializer {
        let reference = self.reference.clone().unwrap_or_default();
        let is_commit = reference.len() == 40 && reference.bytes().all(|b| b.is_ascii_hexdigit());
        let mode = match reference.as_str() {
            "" => CloneTargetMode::RemoteHead,
            _ if is_commit => CloneTargetMode::RemoteCommit,
            _ => CloneTargetMode::RemoteBranch,
        };
        GitInitializer {
            remote_uri: self.url.clone(),
            target_mode: mode.into(),
            clone_taget: reference,
            checkout_location: directory.to_owned(),
            config: Some(GitConfig::default()),
            ..GitInitializer::default()
        }
    }
}

/// The `@` of a user is before the path, that of a reference after it.
fn remote(text: &str) -> Result<Remote, String> {
    let has_path = |url: &str| match url.split_once("://") {
        Some((_, rest)) => rest.contains('/'),
        None => url.contains([':', '/']),
    };
    let (url, reference) = match text.rsplit_once('@') {
        Some((url, reference)) if has_path(url) && !reference.contains(':') => {
            (url, Some(reference.to_owned()))
        }
        _ => (text, None),
    };
    match (url, reference.as_deref()) {
        ("", _) => Err("a repository has a URL".to_owned()),
        (_, Some("")) => Err("there is no reference after the @".to_owned()),
        _ => Ok(Remote {
            url: url.to_owned(),
            reference,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_follows_the_path() {
        for (text, url, reference, directory) in [
            ("https://h/o/r.git", "https://h/o/r.git", None, "r"),
            ("https://h/o/r@main", "https://h/o/r", Some("main"), "r"),
            ("https://h/o/r@f/x", "https://h/o/r", Some("f/x"), "r"),
            ("git@h:o/r.git", "git@h:o/r.git", None, "r"),
            ("git@h:r.git@v1", "git@h:r.git", Some("v1"), "r"),
            ("ssh://git@h/r/", "ssh://git@h/r/", None, "r"),
            ("/srv/r.git@main", "/srv/r.git", Some("main"), "r"),
        ] {
            let remote = remote(text).unwrap();
            assert_eq!(
                (remote.url.as_str(), remote.reference.as_deref()),
                (url, reference)
            );
            assert_eq!(remote.directory(), directory);
        }
        assert!(remote("https://h/r@").is_err());
    }
}
