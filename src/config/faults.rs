//! Collects the problems that the rules find: none for a key whose value is invalid already.

use std::collections::BTreeSet;

use super::problem::{Problem, Severity};

/// The problems so far.
pub(super) struct Faults {
    problems: Vec<Problem>,
    /// Keys with an invalid value: no rule applies to its replacement.
    unread: BTreeSet<String>,
    /// Keys without effect.
    idle: BTreeSet<String>,
}

impl Faults {
    /// Starts with the problems of reading: the keys of these are invalid or idle.
    pub(super) fn new(problems: Vec<Problem>) -> Self {
        let errors = problems.iter().filter(|p| p.severity == Severity::Error);
        let unread = errors.map(|problem| problem.path.clone()).collect();
        let warnings = problems.iter().filter(|p| p.severity == Severity::Warning);
        let idle = warnings.map(|problem| problem.path.clone()).collect();
        Self {
            problems,
            unread,
            idle,
        }
    }

    pub(super) fn add(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Problem::error(path, message));
    }

    pub(super) fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.push(Problem::warning(path, message));
    }

    /// Reports `message` at `path` unless `holds`.
    pub(super) fn unless(&mut self, holds: bool, path: &str, message: impl Into<String>) {
        if !holds {
            self.add(path, message);
        }
    }

    /// Adds a problem, unless the key, or an enclosing one, is invalid.
    pub(super) fn push(&mut self, problem: Problem) {
        // A default template is that of several types.
        if !self.is_unread(&problem.path) && !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// Whether the value of a key is invalid.
    pub(super) fn is_unread(&self, path: &str) -> bool {
        self.unread.contains("") || is_within(path, &self.unread)
    }

    /// Whether a key, or an enclosing one, has no effect.
    pub(super) fn is_idle(&self, path: &str) -> bool {
        is_within(path, &self.idle)
    }

    /// Returns the problems by path.
    pub(super) fn finish(mut self) -> Vec<Problem> {
        self.problems.sort();
        self.problems
    }
}

/// Whether a key, or an enclosing one, is among the others.
pub(super) fn is_within(path: &str, others: &BTreeSet<String>) -> bool {
    let ends = path.char_indices().filter(|(_, c)| matches!(c, '.' | '['));
    let mut enclosing = ends.map(|(end, _)| &path[..end]);
    others.contains(path) || enclosing.any(|path| others.contains(path))
}
