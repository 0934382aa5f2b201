//! The manifest of a backup and the names of what lies in the store.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a backup was made for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Backup,
    Snapshot,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "backup",
            Self::Snapshot => "snapshot",
        }
    }
}

/// What makes an object in the store a backup: it is written last and never changed.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Manifest {
    pub version: u32,
    pub sequence: u64,
    pub kind: Kind,
    #[serde(rename = "final")]
    pub is_final: bool,
    pub owner: String,
    pub workspace: String,
    pub instance: String,
    /// Key of the data.
    pub data: String,
    pub format: String,
    /// Of the data, as it lies in the store.
    pub size: u64,
    pub sha256: String,
    pub files: u64,
    /// Sizes of the files added up.
    pub bytes: u64,
    pub created: String,
    /// Id of the request that it was made for: one that is asked again gets the same backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The request was answered before it was saved: it is found by the id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub early: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<GitStatus>,
}

/// State of a working copy.
#[derive(Clone, Debug, Default, Serialize, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub struct GitStatus {
    pub branch: String,
    pub latest_commit: String,
    pub uncommited_files: Vec<String>,
    pub total_uncommited_files: u64,
    pub untracked_files: Vec<String>,
    pub total_untracked_files: u64,
    pub unpushed_commits: Vec<String>,
    pub total_unpushed_commits: u64,
}

impl GitStatus {
    /// Drops an entry of the longest list; false if there is none.
    pub fn shorten(&mut self) -> bool {
        let lists = [
            &mut self.uncommited_files,
            &mut self.untracked_files,
            &mut self.unpushed_commits,
        ];
        lists
            .into_iter()
            .max_by_key(|list| list.len())
            .is_some_and(|list| list.pop().is_some())
    }
}

/// The only version of manifests.
pub const VERSION: u32 = 1;

/// Where the backups of an owner lie: those of each workspace below it.
pub fn owner_prefix(owner: &str) -> String {
    segment(owner)
}

/// Where the backups of one workspace lie.
pub fn prefix(owner: &str, workspace: &str) -> String {
    format!("{}/{}", segment(owner), segment(workspace))
}

impl Manifest {
    /// Name of the manifest below its prefix.
    pub fn file_name(&self) -> String {
        let (sequence, kind) = (self.sequence, self.kind.as_str());
        match self.request.as_ref().filter(|_| self.early) {
            Some(request) => format!("{sequence:010}-{kind}-{request}.json"),
            None => format!("{sequence:010}-{kind}.json"),
        }
    }
}

/// What the name of a manifest says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ManifestName<'a> {
    pub sequence: u64,
    pub kind: Kind,
    pub request: Option<&'a str>,
}

/// What a name says, if it is one of a manifest.
pub fn parse_manifest_name(name: &str) -> Option<ManifestName<'_>> {
    let (sequence, rest) = name.strip_suffix(".json")?.split_once('-')?;
    if sequence.len() != 10 || !sequence.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (kind, request) = match rest.split_once('-') {
        Some((kind, request)) => (kind, Some(request)),
        None => (rest, None),
    };
    if request.is_some_and(|request| !is_request_id(request)) {
        return None;
    }
    Some(ManifestName {
        sequence: sequence.parse().ok()?,
        kind: parse_kind(kind)?,
        request,
    })
}

/// Kind and request of a name that was given before anything was saved; none for anything else.
pub fn parse_request_name(name: &str) -> Option<(Kind, &str)> {
    let (kind, request) = name.split_once('-')?;
    Some((parse_kind(kind)?, request)).filter(|_| is_request_id(request))
}

/// Whether it can name a request: letters, digits, `-`, `_` and `.`.
pub fn is_request_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=128).contains(&id.len()) && !id.starts_with('.') && id.bytes().all(plain)
}

fn parse_kind(text: &str) -> Option<Kind> {
    match text {
        "backup" => Some(Kind::Backup),
        "snapshot" => Some(Kind::Snapshot),
        _ => None,
    }
}

/// A backup as others name it: `<owner>/<workspace>/<manifest>@<bucket>`, or `<owner>/<workspace>/<kind>-<request>@<bucket>`
/// where the name was given before it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupName {
    pub owner: String,
    pub workspace: String,
    pub manifest: String,
    pub bucket: String,
}

impl fmt::Display for BackupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let home = prefix(&self.owner, &self.workspace);
        write!(f, "{home}/{}@{}", self.manifest, self.bucket)
    }
}

/// Why a name is none of a backup.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{0:?} is no name of a backup such as \"owner/workspace/0000000007-backup.json@bucket\"")]
pub struct NameError(String);

impl BackupName {
    /// The name of what a request will have saved.
    pub fn of_request(owner: &str, workspace: &str, kind: Kind, id: &str, bucket: &str) -> Self {
        Self {
            owner: owner.to_owned(),
            workspace: workspace.to_owned(),
            manifest: format!("{}-{id}", kind.as_str()),
            bucket: bucket.to_owned(),
        }
    }

    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refused = || NameError(text.to_owned());
        let (path, bucket) = text.rsplit_once('@').ok_or_else(refused)?;
        let mut parts = path.split('/');
        let mut part = || parts.next().ok_or_else(refused);
        let (owner, workspace, manifest) = (part()?, part()?, part()?);
        let is_name =
            parse_manifest_name(manifest).is_some() || parse_request_name(manifest).is_some();
        if parts.next().is_some() || !is_name {
            return Err(refused());
        }
        Ok(Self {
            owner: unsegment(owner).ok_or_else(refused)?,
            workspace: unsegment(workspace).ok_or_else(refused)?,
            manifest: manifest.to_owned(),
            bucket: bucket.to_owned(),
        })
    }
}

/// A text as one segment of a path: what is neither a letter, a digit nor one of `-_.` is percent-encoded.
pub fn segment(text: &str) -> String {
    let dots = text.bytes().all(|b| b == b'.');
    let mut segment = String::new();
    for byte in text.bytes() {
        match byte {
            b'.' if dots => segment.push_str("%2E"),
            b'-' | b'_' | b'.' => segment.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => segment.push(char::from(byte)),
            _ => segment.push_str(&format!("%{byte:02X}")),
        }
    }
    segment
}

/// What a segment stands for; none if it was not made by [`segment`].
pub fn unsegment(segment_text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = segment_text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits = std::str::from_utf8(&digits).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    let text = String::from_utf8(bytes).ok()?;
    (segment(&text) == segment_text && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_and_workspaces_are_one_segment_each() {
        for (text, encoded) in [
            ("plain-1_x.y", "plain-1_x.y"),
            ("../../other", "..%2F..%2Fother"),
            ("..", "%2E%2E"),
            ("a@b é", "a%40b%20%C3%A9"),
        ] {
            assert_eq!(segment(text), encoded);
            assert_eq!(unsegment(encoded).as_deref(), Some(text));
        }
        for other in ["a%2fb", "a%zz", "..", "a b", ""] {
            assert_eq!(unsegment(other), None, "{other}");
        }
    }

    #[test]
    fn manifests_say_what_they_are_by_their_names() {
        for (name, sequence, kind, request) in [
            ("0000000007-backup.json", 7, Kind::Backup, None),
            (
                "0000000012-snapshot-a-1.json",
                12,
                Kind::Snapshot,
                Some("a-1"),
            ),
        ] {
            let parsed = ManifestName {
                sequence,
                kind,
                request,
            };
            assert_eq!(parse_manifest_name(name), Some(parsed));
        }
        for name in [
            "7-backup.json",
            "0000000007-backup",
            "0000000007-backup-.json",
        ] {
            assert_eq!(parse_manifest_name(name), None, "{name}");
        }
    }

    #[test]
    fn names_of_backups_come_back() {
        let name = BackupName::parse("o%40x/w/0000000007-snapshot.json@bucket").unwrap();
        assert_eq!(
            (name.owner.as_str(), name.bucket.as_str()),
            ("o@x", "bucket")
        );
        assert_eq!(name.to_string(), "o%40x/w/0000000007-snapshot.json@bucket");
        let early = BackupName::of_request("o@x", "w", Kind::Snapshot, "3f-0a", "bucket");
        assert_eq!(early.to_string(), "o%40x/w/snapshot-3f-0a@bucket");
        assert_eq!(BackupName::parse(&early.to_string()), Ok(early));
        for wrong in [
            "o/w/snapshot-@b",
            "o/w/snapshot-.a@b",
            "o/w/archive-a@b",
            "o/w/0000000007-backup.json",
            "o/w/7-backup.json@b",
            "o/w/data/x.tar.zst@b",
            "../w/0000000007-backup.json@b",
            "w/0000000007-backup.json@b",
        ] {
            assert!(BackupName::parse(wrong).is_err(), "{wrong}");
        }
    }
}
