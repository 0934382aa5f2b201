//! UpdateSSHKey: whose SSH keys open a workspace. Short lists are an annotation, long ones are in the
//! Secret of the pod (docs/protocol.md#secret).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;

use super::Seen;
use crate::action::{Action, Mark, SecretChange};
use crate::error::FieldViolation;
use crate::proto::wsman::SshPublicKeys;
use crate::workspaces::marks::{annotation, secret_key};
use crate::workspaces::{request, secret, sizes, ssh_key};

/// How many faulty keys are told: an answer has to fit into the trailers of a call.
const MAX_TOLD: usize = 32;

/// The keys as they are stored; empty where there are none.
#[derive(Debug, Clone)]
pub(super) struct Keys(String);

/// Keys are never shown: somebody may have sent a private one.
pub(super) fn parse(keys: Vec<String>) -> Result<Keys, Vec<FieldViolation>> {
    let mut faults: Vec<FieldViolation> = keys
        .iter()
        .enumerate()
        .filter_map(|(i, key)| {
            let why = ssh_key::fault(key)?;
            Some(FieldViolation::new(format!("keys[{i}]"), why))
        })
        .take(MAX_TOLD)
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

/// Where keys are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
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
        let place = self.place();
        let mut mark = Mark::default();
        let mut secret = SecretChange::default();
        kept.retain(|key| *key != annotation::SSH_PUBLIC_KEYS);
        match place {
            Place::Annotation if annotated != Some(&self.0) => {
                let key = annotation::SSH_PUBLIC_KEYS.to_owned();
                mark.set.insert(key, self.0.clone());
            }
            Place::Nowhere | Place::Secret if annotated.is_some() => {
                mark.remove.push(annotation::SSH_PUBLIC_KEYS.to_owned());
            }
            Place::Nowhere | Place::Annotation | Place::Secret => {}
        }
        if let Some(initializer) = self.displaced(seen) {
            let key = secret_key::CONTENT_INITIALIZER.to_owned();
            secret.set.insert(key, initializer.clone());
            mark.remove.push(annotation::CONTENT_INITIALIZER.to_owned());
            kept.push(annotation::CONTENT_INITIALIZER);
        }
        if place == Place::Secret {
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
            actions.push(Action::MarkVersion(seen.pod.clone(), version, mark));
        }
        if was_in_secret && place != Place::Secret {
            let change = SecretChange {
                remove: vec![secret_key::SSH_PUBLIC_KEYS.to_owned()],
                ..SecretChange::default()
            };
            actions.push(Action::ChangeSecret(seen.owner.clone(), change));
        }
        actions
    }

    fn place(&self) -> Place {
        match self.0.len() {
            0 => Place::Nowhere,
            1..=sizes::MAX_LONG_ANNOTATIONS => Place::Annotation,
            _ => Place::Secret,
        }
    }

    /// Returns the initializer where it has to make room. All long annotations together have a limit, and proxies read
    /// the keys from theirs.
    fn displaced<'a>(&self, seen: &'a Seen) -> Option<&'a String> {
        let initializer = seen.marks.get(annotation::CONTENT_INITIALIZER)?;
        let is_full = self.0.len() + initializer.len() > sizes::MAX_LONG_ANNOTATIONS;
        (self.place() == Place::Annotation && is_full).then_some(initializer)
    }
}
