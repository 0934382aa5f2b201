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

/// Name of a manifest below the prefix.
pub fn manifest_name(sequence: u64, kind: Kind) -> String {
    format!("{sequence:010}-{}.json", kind.as_str())
}

/// Sequence and kind of a manifest, from its name; none for anything else.
pub fn parse_manifest_name(name: &str) -> Option<(u64, Kind)> {
    let (sequence, kind) = name.strip_suffix(".json")?.split_once('-')?;
    if sequence.len() != 10 || !sequence.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let kind = match kind {
        "backup" => Kind::Backup,
        "snapshot" => Kind::Snapshot,
        _ => return None,
    };
    Some((sequence.parse().ok()?, kind))
}

/// A backup as others name it: `<owner>/<workspace>/<manifest>@<bucket>`.
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
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let refused = || NameError(text.to_owned());
        let (path, bucket) = text.rsplit_once('@').ok_or_else(refused)?;
        let mut parts = path.split('/');
        let mut part = || parts.next().ok_or_else(refused);
        let (owner, workspace, manifest) = (part()?, part()?, part()?);
        if parts.next().is_some() || parse_manifest_name(manifest).is_none() {
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
    fn names_of_backups_come_back() {
        let name = BackupName::parse("o%40x/w/0000000007-snapshot.json@bucket").unwrap();
        assert_eq!(
            (name.owner.as_str(), name.bucket.as_str()),
            ("o@x", "bucket")
        );
        assert_eq!(name.to_string(), "o%40x/w/0000000007-snapshot.json@bucket");
        for wrong in [
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
