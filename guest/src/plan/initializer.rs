//! The initializer of a workspace, as the proto3 JSON of `contentservice.WorkspaceInitializer` with its own names.

use std::collections::BTreeMap;

use serde::Deserialize;

/// How deep composites may be nested.
const MAX_DEPTH: usize = 8;

/// How a workspace gets its content; with no member set, nothing is done.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Initializer {
    empty: Option<Empty>,
    git: Option<Git>,
    snapshot: Option<Snapshot>,
    prebuild: Option<Prebuild>,
    composite: Option<Composite>,
    download: Option<Download>,
    backup: Option<Backup>,
}

/// The member that is set.
#[derive(Clone, Copy, Debug)]
pub enum Spec<'a> {
    Empty,
    Git(&'a Git),
    Snapshot(&'a Snapshot),
    Prebuild(&'a Prebuild),
    Composite(&'a [Initializer]),
    Download(&'a Download),
    Backup(&'a Backup),
}

#[derive(Clone, Debug, Deserialize)]
struct Empty {}

/// Clones a repository.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Git {
    pub remote_uri: String,
    #[serde(rename = "upstream_Remote_uri")]
    pub upstream_remote_uri: String,
    pub target_mode: TargetMode,
    pub clone_taget: String,
    pub checkout_location: String,
    pub config: GitConfig,
    pub full_clone: bool,
}

/// What `clone_taget` names.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TargetMode {
    #[default]
    RemoteHead,
    RemoteCommit,
    RemoteBranch,
    LocalBranch,
}

/// Settings of a repository and how Git authenticates.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct GitConfig {
    pub custom_config: BTreeMap<String, String>,
    pub authentication: AuthMethod,
    pub auth_user: String,
    /// `extracted-secret/<name of a file beside the plan>`.
    pub auth_password: String,
    /// URL that gives user and password once, or `extracted-secret/<name>` of a file with it.
    pub auth_ots: String,
}

impl std::fmt::Debug for GitConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitConfig")
            .field("authentication", &self.authentication)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AuthMethod {
    #[default]
    NoAuth,
    BasicAuth,
    BasicAuthOts,
}

/// Restores a snapshot.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Snapshot {
    pub snapshot: String,
    pub from_volume_snapshot: bool,
}

/// Restores a prebuild, then brings its repositories up to date.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Prebuild {
    pub prebuild: Snapshot,
    pub git: Vec<Git>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Composite {
    initializer: Vec<Initializer>,
}

/// Downloads files.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Download {
    pub files: Vec<FileInfo>,
    pub target_location: String,
}

/// One file to download.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct FileInfo {
    pub url: String,
    pub file_path: String,
    pub digest: String,
}

/// Restores the last backup.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Backup {
    pub checkout_location: String,
    pub from_volume_snapshot: bool,
}

/// A field, its value, and why it is refused.
type Refused = (&'static str, String, &'static str);

impl Initializer {
    /// The member that is set, if one is.
    pub fn spec(&self) -> Option<Spec<'_>> {
        self.specs().into_iter().next().map(|(_, spec)| spec)
    }

    fn specs(&self) -> Vec<(&'static str, Spec<'_>)> {
        let composite = self
            .composite
            .as_ref()
            .map(|c| Spec::Composite(&c.initializer));
        [
            ("empty", self.empty.as_ref().map(|_| Spec::Empty)),
            ("git", self.git.as_ref().map(Spec::Git)),
            ("snapshot", self.snapshot.as_ref().map(Spec::Snapshot)),
            ("prebuild", self.prebuild.as_ref().map(Spec::Prebuild)),
            ("composite", composite),
            ("download", self.download.as_ref().map(Spec::Download)),
            ("backup", self.backup.as_ref().map(Spec::Backup)),
        ]
        .into_iter()
        .filter_map(|(name, spec)| Some((name, spec?)))
        .collect()
    }

    /// Checks what no step can: that one kind is set, and that composites end.
    pub(super) fn check(&self, depth: usize) -> Result<(), Refused> {
        let specs = self.specs();
        if specs.len() > 1 {
            let names: Vec<_> = specs.iter().map(|(name, _)| *name).collect();
            return Err(("initializer", names.join(", "), "only one kind may be set"));
        }
        if depth > MAX_DEPTH {
            let why = "composites may be nested at most 8 deep";
            return Err(("initializer.composite", depth.to_string(), why));
        }
        if let Some((_, Spec::Composite(steps))) = specs.first() {
            steps.iter().try_for_each(|step| step.check(depth + 1))?;
        }
        Ok(())
    }
}
