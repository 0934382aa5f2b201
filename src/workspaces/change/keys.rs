//! UpdateSSHKey: the SSH keys that give access to a workspace. Short lists are an annotation, long ones are in the
//! Secret of the pod (docs/protocol.md#secret).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;

use super::Seen;
use crate::action::{Action, Mark, PodChange, SecretChange};
use crate::error::FieldViolation;
use crate::proto::wsman::SshPublicKeys;
use crate::workspaces::marks::{annotation, secret_key};
use crate::workspaces::{request, secret, sizes, ssh_key};

/// Most invalid keys that are listed: an error must fit into the trailers of a call.
const MAX_LISTED: usize = 32;

/// The keys as stored; empty if there are none.
#[derive(Debug, Clone)]
pub(super) struct Keys(String);

/// Keys are never printed: one may be a private key.
pub(super) fn parse(keys: Vec<String>) -> Result<Keys, Vec<FieldViolation>> {
    let mut faults: Vec<FieldViolation> = keys
        .iter()
        .enumerate()
        .filter_map(|(i, key)| {
            let why = ssh_key::fault(key)?;
            Some(FieldViolation::new(format!("keys[{i}]"), why))
        })
        .take(MAX_LISTED)
        .collect();
    let stored = match keys.is_empty() {
        true => String::new(),
        false => STANDARD.encode(SshPublicKeys { keys }.encode_to_vec()),
    };
    if stored.len() > request::MAX_SECRETS {
        let (size, max) = (stored.len(), request::MAX_SECRETS);
        let why = format!("take {size} bytes as they are stored; at most {max} are possible");
        faults.push(FieldViolation::new("keys", why));
    }
    if faults.is_empty() {
        Ok(Keys(stored))
    } else {
        Err(faults)
    }
}

/// Where keys are stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Storage {
    Nowhere,
    Annotation,
    Secret,
}

impl Keys {
    /// The Secret is written before the mark that refers to it, and cleaned up after it.
    pub(super) fn actions(&self, seen: &Seen) -> Vec<Action> {
        let in_secret = seen
            .marks
            .get(annotation::IN_SECRET)
            .map_or("", String::as_str);
        let mut kept: Vec<&str> = in_secret.split(',').filter(|key| !key.is_empty()).collect();
        let was_in_secret = kept.contains(&annotation::SSH_PUBLIC_KEYS);
        let annotated = seen.marks.get(annotation::SSH_PUBLIC_KEYS);
        let storage = self.storage();
        let mut mark = Mark::default();
        let mut secret = SecretChange::default();
        kept.retain(|key| *key != annotation::SSH_PUBLIC_KEYS);
        match storage {
            Storage::Annotation if annotated != Some(&self.0) => {
                let key = annotation::SSH_PUBLIC_KEYS.to_owned();
                mark.set.insert(key, self.0.clone());
            }
            Storage::Nowhere | Storage::Secret if annotated.is_some() => {
                mark.remove.push(annotation::SSH_PUBLIC_KEYS.to_owned());
            }
            Storage::Nowhere | Storage::Annotation | Storage::Secret => {}
        }
        if let Some(initializer) = self.displaced(seen) {
            let key = secret_key::CONTENT_INITIALIZER.to_owned();
            secret.set.insert(key, initializer.clone());
            mark.remove.push(annotation::CONTENT_INITIALIZER.to_owned());
            kept.push(annotation::CONTENT_INITIALIZER);
        }
        if storage == Storage::Secret {
            let key = secret_key::SSH_PUBLIC_KEYS.to_owned();
            secret.set.insert(key, self.0.clone());
            kept.push(annotation::SSH_PUBLIC_KEYS);
        }
        let kept = kept.join(",");
        if kept.is_empty() && !in_secret.is_empty() {
            mark.remove.push(annotation::IN_SECRET.to_owned());
        } else if kept != in_secret {
            mark.set.insert(annotation::IN_SECRET.to_owned(), kept);
        }
        let mut actions = Vec::new();
        if secret != SecretChange::default() {
            secret.unlabelled = secret::UNLABELLED;
            actions.push(Action::ChangeSecret(seen.owner.clone(), secret));
        }
        if mark != Mark::default() {
            let version = seen.version.clone();
            actions.push(Action::ChangePod(
                seen.pod.clone(),
                PodChange::mark_at(version, mark),
            ));
        }
        if was_in_secret && storage != Storage::Secret {
            let change = SecretChange {
                remove: vec![secret_key::SSH_PUBLIC_KEYS.to_owned()],
                ..SecretChange::default()
            };
            actions.push(Action::ChangeSecret(seen.owner.clone(), change));
        }
        actions
    }

    fn storage(&self) -> Storage {
        match self.0.len() {
            0 => Storage::Nowhere,
            1..=sizes::MAX_LONG_ANNOTATIONS => Storage::Annotation,
            _ => Storage::Secret,
        }
    }

    /// Returns the initializer if it must move to the Secret. All long annotations together have a limit, and
    /// proxies read the keys from theirs.
    fn displaced<'a>(&self, seen: &'a Seen) -> Option<&'a String> {
        let initializer = seen.marks.get(annotation::CONTENT_INITIALIZER)?;
        let is_full = self.0.len() + initializer.len() > sizes::MAX_LONG_ANNOTATIONS;
        (self.storage() == Storage::Annotation && is_full).then_some(initializer)
    }
}
