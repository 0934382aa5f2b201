//! One key of the configuration: what the reader, the checks, the schema and docs/configuration.md know about it.

use std::fmt;

use serde_json::Value;

use super::format::Format;

/// A key as it is declared where it is read.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) format: Format,
    pub(super) need: Need,
    pub(super) example: Option<Value>,
    pub(super) idle: Option<&'static str>,
    /// What its value must be beside its type, as schemas.
    pub(super) rules: fn() -> Vec<Value>,
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
        format: Format::Text,
        need: Need::Optional(NONE),
        example: None,
        idle: None,
        rules: Vec::new,
    }
}

/// What an absent key means where there is nothing to say.
pub(super) const NONE: &str = "none";

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

    /// What kind of string it is.
    pub(super) fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// It has no effect, for the reason given; a file that has it gets a warning.
    pub(super) fn idle(mut self, why: &'static str) -> Self {
        self.idle = Some(why);
        self
    }

    /// What the schema says of its value beside the type; the checks say it in words.
    pub(super) fn rules(mut self, rules: fn() -> Vec<Value>) -> Self {
        self.rules = rules;
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

/// What a key holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// An object with keys of its own. An absent one counts as empty.
    Object,
    /// An object with keys of its own, which are only read if it is there.
    Optional,
    /// An object of such objects by name.
    Named,
    /// A string.
    Text(Format),
    /// A list of strings.
    Texts(Format),
    /// A boolean.
    Flag,
    /// One of a few values.
    Choice(Vec<Value>),
    /// A whole number within bounds.
    Whole(u64, u64),
    /// A number from 0 up to a bound.
    Number(f64),
    /// Anything.
    Any,
}

impl Shape {
    /// Whether it has keys of its own.
    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Object | Self::Optional | Self::Named)
    }
}

/// As docs/configuration.md and errors say it.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object | Self::Optional | Self::Named => f.write_str("object"),
            Self::Text(format) => f.write_str(format.name()),
            Self::Texts(_) => f.write_str("list of strings"),
            Self::Flag => f.write_str("boolean"),
            Self::Choice(values) => {
                for (at, value) in values.iter().enumerate() {
                    let separator = match at {
                        0 => "",
                        at if at + 1 == values.len() => " or ",
                        _ => ", ",
                    };
                    write!(f, "{separator}{value}")?;
                }
                Ok(())
            }
            Self::Whole(least, most) => write!(f, "whole number, {least} to {most}"),
            Self::Number(most) => write!(f, "number, 0 to {most}"),
            Self::Any => f.write_str("any"),
        }
    }
}

/// A key with its place and what it holds.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Path of the object that has it: `manager.workspaceClass.<id>`.
    pub(super) object: String,
    /// `manager.workspaceClass.<id>.name`; of an object of objects that of its members.
    pub(super) path: String,
    pub(super) shape: Shape,
    pub(super) key: Key,
}
