//! Collects the faults of a request and words them: the classic manager's texts first, then ours.

use crate::error::{Error, FieldViolation};

/// How many faults are told. An answer has to fit into the trailers of a call.
const MAX_TOLD: usize = 32;

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Faults {
    spec: Vec<(&'static str, String)>,
    secrets: Option<String>,
    request: Vec<(&'static str, String)>,
    ours: Vec<(String, String)>,
    violations: Vec<FieldViolation>,
}

impl Faults {
    /// Adds a fault of the classic manager's first group. `key` is what it called the field.
    pub(super) fn classic_spec(&mut self, key: &'static str, field: &str, why: &str) {
        // It told one fault per field.
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

    /// Adds a fault of the classic manager's second group.
    pub(super) fn classic_request(&mut self, key: &'static str, why: &str) {
        self.request.push((key, why.to_owned()));
        self.violations.push(FieldViolation::new(key, why));
    }

    /// Adds a fault that the classic manager did not look for.
    pub(super) fn add(&mut self, field: impl Into<String>, why: impl Into<String>) {
        let (field, why) = (field.into(), why.into());
        self.ours.push((field.clone(), why.clone()));
        self.violations.push(FieldViolation::new(field, why));
    }

    /// Returns the error, if there is a fault.
    pub(super) fn finish(mut self) -> Result<(), Error> {
        if self.violations.is_empty() {
            return Ok(());
        }
        let mut texts = Vec::new();
        texts.extend(group(&mut self.spec));
        texts.extend(self.secrets.take());
        texts.extend(group(&mut self.request));
        let untold = self.ours.len().saturating_sub(MAX_TOLD);
        self.ours.truncate(MAX_TOLD);
        if untold > 0 {
            let more = format!("{untold} more faults of this kind");
            self.ours.push(("\u{2026}".to_owned(), more));
        }
        texts.extend(group(&mut self.ours));
        self.violations.truncate(MAX_TOLD);
        Err(Error::Invalid {
            message: format!("invalid start workspace request: {}", texts.join(" ")),
            violations: self.violations,
        })
    }
}

/// Words a group as the classic manager does: sorted by field, "; " between, "." at the end.
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
