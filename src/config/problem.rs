//! A problem of a configuration, and its path.

use std::fmt;

use serde::Serialize;

/// A problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Its path: `manager.timeouts.startup`; empty for the whole file.
    pub path: String,
    /// The file of the key, if the problem is in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What is wrong, with the value, and what to do.
    pub message: String,
    /// Whether the configuration can be used.
    pub severity: Severity,
    /// It prevents serving, but not a verb that only computes.
    #[serde(skip)]
    pub serving_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is rejected.
    Error,
    /// The configuration is used; something in it has no effect, or probably a wrong one.
    Warning,
}

impl Problem {
    /// Returns a problem that rejects the configuration.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            file: None,
            message: message.into(),
            severity: Severity::Error,
            serving_only: false,
        }
    }

    /// Returns a problem that does not reject the configuration.
    pub fn warning(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(path, message)
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        if let Some(file) = &self.file {
            write!(f, "{file}: ")?;
        }
        f.write_str(&self.message)
    }
}
