//! What an event trace log does not hold: owner tokens, SSH keys, initializers, and passwords of images and URLs.
//!
//! What is hidden in one place of a line is looked for in all the others.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::objects::{Meta, Pod};
use crate::proto::wsman::WorkspaceStatus;
use crate::redact;
use crate::workspaces::case::{Case, Objects};
use crate::workspaces::image;
use crate::workspaces::marks::annotation;

/// Stands for what is not shown.
pub const REDACTED: &str = "[redacted]";

/// Annotations that are hidden as a whole.
const HIDDEN: [&str; 3] = [
    annotation::OWNER_TOKEN,
    annotation::SSH_PUBLIC_KEYS,
    annotation::CONTENT_INITIALIZER,
];
/// Shorter tokens are looked for nowhere else: that would make holes everywhere.
const SHORTEST: usize = 8;

/// The secrets that a line would hold.
#[derive(Debug, Default)]
pub(super) struct Redaction {
    /// What stands for each.
    secrets: BTreeMap<String, String>,
}

impl Redaction {
    /// Hides the secrets of a case, and notes them.
    pub(super) fn of_case(case: &mut Case) -> Self {
        let mut redaction = Self::default();
        for objects in &mut case.members {
            redaction.objects(objects);
        }
        redaction
    }

    /// Hides the secrets of objects, and notes them.
    pub(super) fn objects(&mut self, objects: &mut Objects) {
        self.pod(&mut objects.pod);
    }

    fn pod(&mut self, pod: &mut Pod) {
        for container in pod.spec.containers.iter().chain(&pod.spec.init_containers) {
            self.image(&container.image);
        }
        for status in &pod.status.container_statuses {
            self.image(&status.image);
        }
        self.marks(&mut pod.metadata);
    }

    fn marks(&mut self, meta: &mut Meta) {
        for key in HIDDEN {
            if let Some(value) = meta.annotations.get_mut(key).filter(|v| !v.is_empty()) {
                let secret = std::mem::replace(value, REDACTED.to_owned());
                self.note(&secret);
            }
        }
        let Some(text) = meta.annotations.get_mut(annotation::IMAGE_SPEC) else {
            return;
        };
        let edited = image::edit(text, |spec| {
            for image in image::references(spec) {
                self.image(image);
                *image = self.text(image);
            }
        });
        if let Some(edited) = edited {
            *text = edited;
        }
    }

    /// Hides the secrets of a status, and notes them.
    pub(super) fn status(&mut self, status: &mut WorkspaceStatus) {
        if let Some(auth) = status.auth.as_mut().filter(|a| !a.owner_token.is_empty()) {
            let token = std::mem::replace(&mut auth.owner_token, REDACTED.to_owned());
            self.note(&token);
        }
        let Some(spec) = &status.spec else {
            return;
        };
        self.image(&spec.workspace_image);
        if let Some(ide) = &spec.ide_image {
            self.image(&ide.web_ref);
            self.image(&ide.supervisor_ref);
        }
    }

    fn image(&mut self, image: &str) {
        if let Some(secret) = redact::credentials(image) {
            self.secrets
                .insert(format!("{secret}@"), format!("{REDACTED}@"));
        }
    }

    fn note(&mut self, secret: &str) {
        if secret.len() >= SHORTEST && secret != REDACTED {
            self.secrets.insert(secret.to_owned(), REDACTED.to_owned());
        }
    }

    /// Hides what was noted, wherever it is, and the passwords of URLs.
    pub(super) fn apply(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.text(text),
            Value::Array(values) => values.iter_mut().for_each(|value| self.apply(value)),
            Value::Object(members) => members.values_mut().for_each(|value| self.apply(value)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (secret, shown) in &self.secrets {
            if text.contains(secret) {
                text = text.replace(secret, shown);
            }
        }
        without_passwords(&text)
    }
}

/// Hides what stands between `://` and an `@` before the host of a URL ends.
fn without_passwords(text: &str) -> String {
    let mut parts = text.split("://");
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let is_end = |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'');
        let host = &part[..part.find(is_end).unwrap_or(part.len())];
        let hidden = host.rfind('@').filter(|at| *at > 0);
        shown.push_str("://");
        match hidden {
            Some(at) => {
                shown.push_str(REDACTED);
                shown.push_str(&part[at..]);
            }
            None => shown.push_str(part),
        }
    }
    shown
}
