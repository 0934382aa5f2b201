//! Finds a field that JSON gives twice: one of the two would be lost silently. Decoders take the last one, or either.

use prost_reflect::{Kind, MessageDescriptor};

use super::method;
use crate::json::{self, Place};
use crate::redact::show;

/// A field that is there twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// Its path, in the names of the protocol; the key of a map stands in brackets.
    pub field: String,
    /// What is wrong.
    pub why: &'static str,
}

/// Looks through the JSON of a message of `kind`, also for fields in two spellings. What is no JSON is another's business.
pub fn find(kind: &MessageDescriptor, text: &[u8]) -> Option<Duplicate> {
    let place = Field {
        shape: Shape::Message(kind.clone()),
        path: String::new(),
    };
    let twice = json::first_twice(text, place)?;
    Some(Duplicate {
        field: twice.path,
        why: match twice.respelt {
            true => "is there twice, in two spellings",
            false => "is there twice",
        },
    })
}

/// Looks through the JSON of the message of that full name.
pub fn find_in(name: &str, text: &str) -> Option<Duplicate> {
    find(&method::message(name)?, text.as_bytes())
}

/// What a value is.
#[derive(Clone)]
enum Shape {
    Message(MessageDescriptor),
    /// With values of this kind.
    Map(Kind),
    Other,
}

impl Shape {
    fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Message(inner) => Self::Message(inner.clone()),
            _ => Self::Other,
        }
    }
}

/// A value of a message.
struct Field {
    shape: Shape,
    path: String,
}

impl Place for Field {
    fn path(&self) -> &str {
        &self.path
    }

    fn member(&self, key: &str) -> (String, Self) {
        let path = self.path.as_str();
        let named = |name: &str, shape| {
            let path = match path {
                "" => name.to_owned(),
                path => format!("{path}.{name}"),
            };
            (name.to_owned(), Self { shape, path })
        };
        match &self.shape {
            Shape::Message(kind) => {
                let field = kind.get_field_by_name(key);
                let Some(field) = field.or_else(|| kind.get_field_by_json_name(key)) else {
                    return named(key, Shape::Other);
                };
                let shape = match field.kind() {
                    Kind::Message(entry) if field.is_map() => {
                        Shape::Map(entry.map_entry_value_field().kind())
                    }
                    kind => Shape::of(&kind),
                };
                named(field.name(), shape)
            }
            Shape::Map(values) => {
                let shape = Shape::of(values);
                let path = format!("{path}[{}]", show(key));
                (key.to_owned(), Self { shape, path })
            }
            Shape::Other => named(key, Shape::Other),
        }
    }

    fn element(&self, at: usize) -> Self {
        let shape = match &self.shape {
            Shape::Map(_) => Shape::Other,
            shape => shape.clone(),
        };
        let path = format!("{}[{at}]", self.path);
        Self { shape, path }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_field_that_is_there_twice_is_named() {
        let find = |text: &str| find_in("wsman.StartWorkspaceRequest", text);
        for (text, field, why) in [
            (r#"{"id": "a", "id": "a"}"#, "id", "is there twice"),
            (
                r#"{"servicePrefix": "a", "service_prefix": "b"}"#,
                "service_prefix",
                "is there twice, in two spellings",
            ),
            (
                r#"{"spec": {"ports": [{}, {"port": 1, "url": "", "port": 2}]}}"#,
                "spec.ports[1].port",
                "is there twice",
            ),
            (
                r#"{"metadata": {"annotations": {"a": "1", "b": "2", "a": "3"}}}"#,
                "metadata.annotations[\"a\"]",
                "is there twice",
            ),
            (
                r#"{"spec": {"initializer": {"git": {"config": {"customConfig": {"x": "", "x": ""}}}}}}"#,
                "spec.initializer.git.config.custom_config[\"x\"]",
                "is there twice",
            ),
            (
                r#"{"spec": {}, "x": {"y": 1, "y": 2}}"#,
                "x.y",
                "is there twice",
            ),
            (
                r#"{"spec": {"\u0067it": null, "git": null}}"#,
                "spec.git",
                "is there twice",
            ),
        ] {
            let found = find(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!((found.field.as_str(), found.why), (field, why), "{text}");
        }
        for text in [
            r#"{"metadata": {"annotations": {"a_b": "", "aB": ""}}}"#,
            r#"{"spec": {"ports": [{"port": 1}, {"port": 1}]}}"#,
            r#"{"id": "a"#,
            "[]",
            "",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
    }
}
