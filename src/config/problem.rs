//! What is wrong with a configuration, and where.

use std::fmt;

use serde::Serialize;

/// Something that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Problem {
    /// Where it is: `manager.timeouts.startup`; empty for the file as a whole.
    pub path: String,
    /// The file that the key names, where the problem is in there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What is wrong, with the value, and what to do.
    pub message: String,
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// It keeps a daemon from serving, but not a verb that only computes.
    #[serde(skip)]
    pub serving_only: bool,
}

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// The configuration is used; something in it has no effect, or hardly the one that was meant.
    Warning,
}

impl Problem {
    /// Returns a problem for which a configuration is refused.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            file: None,
            message: message.into(),
            severity: Severity::Error,
            serving_only: false,
        }
    }

    /// Returns a problem with which a configuration is used.
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
