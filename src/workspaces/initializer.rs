//! An initializer without running it: its locations, its secrets, its violations.

use std::collections::BTreeMap;

use crate::error::FieldViolation;
use crate::proto::contentservice::workspace_initializer::Spec;
use crate::proto::contentservice::{
    CloneTargetMode, GitAuthMethod, GitInitializer, WorkspaceInitializer,
};

/// The replacement of an extracted password, followed by its key in the Secret (docs/protocol.md#secret).
pub const EXTRACTED: &str = "extracted-secret/";

/// Deepest nesting of composites. The key of a secret has the whole path to it and must stay below 253 bytes.
const MAX_DEPTH: usize = 8;

/// Returns the checkout locations in order, at least one.
pub fn checkout_locations(initializer: Option<&WorkspaceInitializer>) -> Vec<&str> {
    let mut locations = Vec::new();
    collect_locations(initializer, &mut locations);
    if locations.is_empty() {
        locations.push("");
    }
    locations
}

fn collect_locations<'a>(
    initializer: Option<&'a WorkspaceInitializer>,
    locations: &mut Vec<&'a str>,
) {
    match initializer.and_then(|i| i.spec.as_ref()) {
        Some(Spec::Git(git)) => locations.push(&git.checkout_location),
        Some(Spec::Backup(backup)) => locations.push(&backup.checkout_location),
        Some(Spec::Prebuild(prebuild)) => {
            locations.extend(
                prebuild
                    .git
                    .iter()
                    .map(|git| git.checkout_location.as_str()),
            );
        }
        Some(Spec::Composite(composite)) => {
            for part in &composite.initializer {
                collect_locations(Some(part), locations);
            }
        }
        Some(Spec::Empty(_) | Spec::Snapshot(_) | Spec::Download(_)) | None => {}
    }
}

/// Extracts the passwords of an initializer, and where they are fetched once, and returns them by their keys in the Secret. Those that are extracted
/// already stay as they are.
pub fn extract_secrets(initializer: &mut WorkspaceInitializer) -> BTreeMap<String, String> {
    let mut secrets = BTreeMap::new();
    each_git(initializer, "initializer", &mut |path, git| {
        let Some(config) = git.config.as_mut() else {
            return;
        };
        let once = format!("{path}.ots");
        // The one-time URL is as good as the password.
        for (value, key) in [
            (&mut config.auth_password, path),
            (&mut config.auth_ots, once),
        ] {
            if !value.is_empty() && !value.starts_with(EXTRACTED) {
                let placeholder = format!("{EXTRACTED}{key}");
                secrets.insert(key, std::mem::replace(value, placeholder));
            }
        }
    });
    secrets
}

/// Puts the passwords that were extracted back; `secret` returns the value of a key.
///
/// # Errors
/// Those of `secret`.
pub fn inject_secrets<E>(
    initializer: &mut WorkspaceInitializer,
    secret: impl Fn(&str) -> Result<String, E>,
) -> Result<(), E> {
    let mut injected = Ok(());
    each_git(initializer, "initializer", &mut |_, git| {
        let Some(config) = git.config.as_mut().filter(|_| injected.is_ok()) else {
            return;
        };
        for value in [&mut config.auth_password, &mut config.auth_ots] {
            let key = value.strip_prefix(EXTRACTED);
            match key.map(&secret) {
                None => {}
                Some(Ok(text)) => *value = text,
                Some(Err(error)) => injected = Err(error),
            }
        }
    });
    injected
}

fn each_git(
    initializer: &mut WorkspaceInitializer,
    path: &str,
    visit: &mut impl FnMut(String, &mut GitInitializer),
) {
    match initializer.spec.as_mut() {
        Some(Spec::Git(git)) => visit(format!("{path}.git"), git),
        Some(Spec::Prebuild(prebuild)) => {
            for (i, git) in prebuild.git.iter_mut().enumerate() {
                visit(format!("{path}.prebuild.{i}.git"), git);
            }
        }
        Some(Spec::Composite(composite)) => {
            for (i, part) in composite.initializer.iter_mut().enumerate() {
                each_git(part, &format!("{path}.composite.{i}"), visit);
            }
        }
        Some(Spec::Empty(_) | Spec::Snapshot(_) | Spec::Download(_) | Spec::Backup(_)) | None => {}
    }
}

/// Returns whether content must be initialised before the workspace runs.
pub fn needs_content(initializer: &WorkspaceInitializer) -> bool {
    match &initializer.spec {
        None | Some(Spec::Empty(_)) => false,
        Some(Spec::Composite(composite)) => composite.initializer.iter().any(needs_content),
        // A volume that is made from a snapshot has it.
        Some(Spec::Backup(backup)) => !backup.from_volume_snapshot,
        Some(Spec::Snapshot(snapshot)) => !snapshot.from_volume_snapshot,
        Some(Spec::Prebuild(prebuild)) => {
            let from_volume = prebuild.prebuild.as_ref();
            let from_volume = from_volume.is_some_and(|snapshot| snapshot.from_volume_snapshot);
            !(from_volume && prebuild.git.is_empty())
        }
        Some(_) => true,
    }
}

/// Returns whether a part of it is saved content.
pub fn needs_store(initializer: &WorkspaceInitializer) -> bool {
    match &initializer.spec {
        None | Some(Spec::Empty(_) | Spec::Git(_) | Spec::Download(_)) => false,
        Some(Spec::Composite(composite)) => composite.initializer.iter().any(needs_store),
        // What is on a volume snapshot is in no store.
        Some(Spec::Snapshot(snapshot)) => !snapshot.from_volume_snapshot,
        Some(Spec::Backup(backup)) => !backup.from_volume_snapshot,
        Some(Spec::Prebuild(prebuild)) => {
            let snapshot = prebuild.prebuild.as_ref();
            !snapshot.is_some_and(|snapshot| snapshot.from_volume_snapshot)
        }
    }
}

/// Adds the violations of an initializer: too deep nesting, Git without its settings.
pub(super) fn faults(initializer: &WorkspaceInitializer, faults: &mut Vec<FieldViolation>) {
    nested_faults(initializer, "spec.initializer", 0, faults);
}

fn nested_faults(
    initializer: &WorkspaceInitializer,
    path: &str,
    depth: usize,
    faults: &mut Vec<FieldViolation>,
) {
    if depth > MAX_DEPTH {
        faults.push(FieldViolation::new(
            path,
            format!("composite initializers are nested more than {MAX_DEPTH} deep"),
        ));
        return;
    }
    match &initializer.spec {
        Some(Spec::Git(git)) => git_faults(git, &format!("{path}.git"), faults),
        Some(Spec::Prebuild(prebuild)) => {
            for (i, git) in prebuild.git.iter().enumerate() {
                git_faults(git, &format!("{path}.prebuild.git[{i}]"), faults);
            }
        }
        Some(Spec::Composite(composite)) => {
            for (i, part) in composite.initializer.iter().enumerate() {
                let path = format!("{path}.composite.initializer[{i}]");
                nested_faults(part, &path, depth + 1, faults);
            }
        }
        Some(Spec::Empty(_) | Spec::Snapshot(_) | Spec::Download(_) | Spec::Backup(_)) | None => {}
    }
}

fn git_faults(git: &GitInitializer, path: &str, faults: &mut Vec<FieldViolation>) {
    let mut out_of_range = |field: &str, number: i32| {
        let why = format!("value {number} is out of range");
        faults.push(FieldViolation::new(format!("{path}.{field}"), why));
    };
    if CloneTargetMode::try_from(git.target_mode).is_err() {
        out_of_range("target_mode", git.target_mode);
    }
    match &git.config {
        Some(config) if GitAuthMethod::try_from(config.authentication).is_err() => {
            out_of_range("config.authentication", config.authentication);
        }
        Some(_) => {}
        None => {
            let path = format!("{path}.config");
            faults.push(FieldViolation::new(path, "cannot be blank"));
        }
    }
}
