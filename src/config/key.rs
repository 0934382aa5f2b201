//! One key of the configuration, for the reader, the checks, the schema and docs/configuration.md.

use std::fmt;

use serde_json::Value;

use super::format::Format;

/// A key, declared where it is read.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) format: Format,
    pub(super) need: Need,
    pub(super) example: Option<Value>,
    pub(super) idle: Option<&'static str>,
    /// Rules for its value besides its type, as schemas.
    pub(super) rules: fn() -> Vec<Value>,
}

/// The meaning of an absent key.
#[derive(Debug, Clone)]
pub(super) enum Need {
    /// The file must have it.
    Required,
    /// The same as this value.
    Default(Value),
    /// These words.
    Optional(&'static str),
}

/// Declares an optional key; `doc` describes it in one or two sentences.
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

/// An absent key without a meaning.
pub(super) const NONE: &str = "none";

impl Key {
    /// The file must have it. Errors suggest the example.
    pub(super) fn required(mut self, example: impl Into<Value>) -> Self {
        self.need = Need::Required;
        self.example(example)
    }

    /// An absent key means this value.
    pub(super) fn default(mut self, value: impl Into<Value>) -> Self {
        self.need = Need::Default(value.into());
        self
    }

    /// The meaning of an absent key, if it is no value.
    pub(super) fn unset(mut self, means: &'static str) -> Self {
        self.need = Need::Optional(means);
        self
    }

    pub(super) fn example(mut self, value: impl Into<Value>) -> Self {
        self.example = Some(value.into());
        self
    }

    /// The kind of a string.
    pub(super) fn format(mut self, format: Format) -> Self {
        self.format = format;
        self
    }

    /// It has no effect, for this reason; a file with it gets a warning.
    pub(super) fn idle(mut self, why: &'static str) -> Self {
        self.idle = Some(why);
        self
    }

    /// Rules of the schema besides the type; the checks have them in words.
    pub(super) fn rules(mut self, rules: fn() -> Vec<Value>) -> Self {
        self.rules = rules;
        self
    }

    /// A value to suggest.
    pub(super) fn proposal(&self) -> Option<&Value> {
        match &self.need {
            Need::Default(value) if self.example.is_none() => Some(value),
            _ => self.example.as_ref(),
        }
    }
}

/// The type of a key.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Shape {
    /// An object with its own keys. An absent one counts as empty.
    Object,
    /// An object with its own keys, which are read only if it is there.
    Optional,
    /// Objects by name.
    Named,
    /// A string.
    Text(Format),
    /// A list of strings.
    Texts(Format),
    /// Strings by name.
    Strings(Format),
    /// Whole numbers within bounds, by name.
    Counts(u64, u64),
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
    /// Whether it has its own keys.
    pub(super) fn is_object(&self) -> bool {
        matches!(self, Self::Object | Self::Optional | Self::Named)
    }
}

/// As in docs/configuration.md and in errors.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object | Self::Optional | Self::Named => f.write_str("object"),
            Self::Text(format) => f.write_str(format.name()),
            Self::Texts(_) => f.write_str("list of strings"),
            Self::Strings(format) => write!(f, "object, each a {}", format.name()),
            Self::Counts(least, most) => {
                write!(f, "whole numbers from {least} to {most} by name")
            }
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

/// A key with its path and its type.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Path of its object: `manager.workspaceClass.<id>`.
    pub(super) object: String,
    /// `manager.workspaceClass.<id>.name`; of an object of objects that of its members.
    pub(super) path: String,
    pub(super) shape: Shape,
    pub(super) key: Key,
}
