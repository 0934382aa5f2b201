//! One key of the configuration: what the reader, the checks and docs/configuration.md know about it.

use serde_json::Value;

/// A key as it is declared where it is read.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) kind: Option<&'static str>,
    pub(super) need: Need,
    pub(super) example: Option<Value>,
    pub(super) idle: Option<&'static str>,
}

/// What an absent key means.
#[derive(Debug, Clone)]
pub(super) enum Need {
    /// The file must have it.
    Required,
    /// The same as this value.
    Default(Value),
    /// What these words say.
    Optional(&'static str),
}

/// Declares an optional key; `doc` says what it does, in one or two sentences.
pub(super) fn key(name: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        doc,
        kind: None,
        need: Need::Optional("none"),
        example: None,
        idle: None,
    }
}

impl Key {
    /// The file must have it. The example is also what an error proposes.
    pub(super) fn required(mut self, example: impl Into<Value>) -> Self {
        self.need = Need::Required;
        self.example(example)
    }

    /// An absent key means this value.
    pub(super) fn default(mut self, value: impl Into<Value>) -> Self {
        self.need = Need::Default(value.into());
        self
    }

    /// What an absent key means, where that is no value.
    pub(super) fn unset(mut self, means: &'static str) -> Self {
        self.need = Need::Optional(means);
        self
    }

    pub(super) fn example(mut self, value: impl Into<Value>) -> Self {
        self.example = Some(value.into());
        self
    }

    /// What kind of string it is, such as `URL`.
    pub(super) fn kind(mut self, kind: &'static str) -> Self {
        self.kind = Some(kind);
        self
    }

    /// It has no effect, for the reason given; a file that has it gets a warning.
    pub(super) fn idle(mut self, why: &'static str) -> Self {
        self.idle = Some(why);
        self
    }

    /// A value to propose.
    pub(super) fn proposal(&self) -> Option<&Value> {
        match &self.need {
            Need::Default(value) if self.example.is_none() => Some(value),
            _ => self.example.as_ref(),
        }
    }
}

/// A key with its place and type.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// `manager.workspaceClass.<id>.name`.
    pub(super) path: String,
    /// `string`, `duration`, `whole number, 1 to 65535`; [`OBJECT`] for those that have keys of their own.
    pub(super) kind: String,
    pub(super) key: Key,
}

/// Kind of a key that has keys of its own.
pub(super) const OBJECT: &str = "object";
