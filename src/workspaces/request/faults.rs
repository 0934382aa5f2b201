//! Collects the violations of a request and formats them: the classic manager's texts first, then ours.

use crate::error::{Error, FieldViolation};

/// Most violations that are listed. An error must fit into the trailers of a call.
const MAX_LISTED: usize = 32;

/// The violations so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    spec: Vec<(&'static str, String)>,
    secrets: Option<String>,
    request: Vec<(&'static str, String)>,
    ours: Vec<(String, String)>,
    violations: Vec<FieldViolation>,
}

impl Faults {
    /// Adds a violation of the classic manager's first group. `key` is its name of the field.
    pub(super) fn classic_spec(&mut self, key: &'static str, field: &str, why: &str) {
        // It reported one violation per field.
        if self.spec.iter().all(|(known, _)| *known != key) {
            self.spec.push((key, why.to_owned()));
        }
        self.violations.push(FieldViolation::new(field, why));
    }

    /// Adds that the secrets are too long.
    pub(super) fn secrets(&mut self, why: String) {
        let field = FieldViolation::new("spec.envvars", why.clone());
        self.violations.push(field);
        self.secrets = Some(why);
    }

    /// Adds a violation of the classic manager's second group.
    pub(super) fn classic_request(&mut self, key: &'static str, why: &str) {
        self.request.push((key, why.to_owned()));
        self.violations.push(FieldViolation::new(key, why));
    }

    /// Adds a violation that the classic manager did not check.
    pub(super) fn add(&mut self, field: impl Into<String>, why: impl Into<String>) {
        let (field, why) = (field.into(), why.into());
        self.ours.push((field.clone(), why.clone()));
        self.violations.push(FieldViolation::new(field, why));
    }

    /// Returns the error, if there is a violation.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        if self.violations.is_empty() {
            return Ok(());
        }
        let mut texts = Vec::new();
        texts.extend(group(&mut self.spec));
        texts.extend(self.secrets.take());
        texts.extend(group(&mut self.request));
        let omitted = self.ours.len().saturating_sub(MAX_LISTED);
        self.ours.truncate(MAX_LISTED);
        if omitted > 0 {
            let more = format!("{omitted} more faults of this kind");
            self.ours.push(("\u{2026}".to_owned(), more));
        }
        texts.extend(group(&mut self.ours));
        self.violations.truncate(MAX_LISTED);
        Err(Error::Invalid {
            message: format!("invalid start workspace request: {}", texts.join(" ")),
            violations: self.violations,
        })
    }
}

/// Formats a group as the classic manager does: sorted by field, "; " between, "." at the end.
fn group<K: Ord + AsRef<str>>(faults: &mut [(K, String)]) -> Option<String> {
    if faults.is_empty() {
        return None;
    }
    faults.sort_by(|(a, _), (b, _)| a.cmp(b));
    let texts: Vec<String> = faults
        .iter()
        .map(|(key, why)| format!("{}: {why}", key.as_ref()))
        .collect();
    Some(format!("invalid request: {}.", texts.join("; ")))
}
