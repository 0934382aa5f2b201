//! Finds a field that JSON gives twice: one of the two would be lost silently. Decoders take the last one, or either.

use std::collections::BTreeSet;
use std::fmt;

use prost_reflect::{Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::method;
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
    let mut found = None;
    let seed = Seed {
        shape: Shape::Message(kind.clone()),
        path: "",
        found: &mut found,
    };
    // It fails at the first one that is found, or where a parser fails, too.
    let _ = seed.deserialize(&mut serde_json::Deserializer::from_slice(text));
    found
}

/// Looks through the JSON of the message of that full name.
pub fn find_in(name: &str, text: &str) -> Option<Duplicate> {
    find(&method::message(name)?, text.as_bytes())
}

/// What a value is.
enum Shape {
    Message(MessageDescriptor),
    /// With values of this shape.
    Map(Box<Shape>),
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

struct Seed<'a> {
    shape: Shape,
    path: &'a str,
    found: &'a mut Option<Duplicate>,
}

impl Seed<'_> {
    /// Returns what a key is called, how the path goes on behind it, and what its value is.
    fn member(&self, key: &str) -> (String, String, Shape) {
        let dotted = |name: &str| match self.path {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        };
        match &self.shape {
            Shape::Message(kind) => {
                let field = kind.get_field_by_name(key);
                let Some(field) = field.or_else(|| kind.get_field_by_json_name(key)) else {
                    return (key.to_owned(), dotted(key), Shape::Other);
                };
                let shape = match field.kind() {
                    Kind::Message(entry) if field.is_map() => {
                        Shape::Map(Box::new(Shape::of(&entry.map_entry_value_field().kind())))
                    }
                    kind => Shape::of(&kind),
                };
                (field.name().to_owned(), dotted(field.name()), shape)
            }
            Shape::Map(values) => {
                let shape = match values.as_ref() {
                    Shape::Message(kind) => Shape::Message(kind.clone()),
                    Shape::Map(_) | Shape::Other => Shape::Other,
                };
                (
                    key.to_owned(),
                    format!("{}[{}]", self.path, show(key)),
                    shape,
                )
            }
            Shape::Other => (key.to_owned(), dotted(key), Shape::Other),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for at in 0_usize.. {
            let shape = match &self.shape {
                Shape::Message(kind) => Shape::Message(kind.clone()),
                Shape::Map(_) | Shape::Other => Shape::Other,
            };
            let element = Seed {
                shape,
                path: &format!("{}[{at}]", self.path),
                found: &mut *self.found,
            };
            if list.next_element_seed(element)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        let mut spelt = BTreeSet::new();
        while let Some(key) = object.next_key::<String>()? {
            let (name, path, shape) = self.member(&key);
            let respelt = spelt.insert(key);
            if !seen.insert(name) {
                let why = match respelt {
                    true => "is there twice, in two spellings",
                    false => "is there twice",
                };
                *self.found = Some(Duplicate { field: path, why });
                return Err(A::Error::custom(why));
            }
            object.next_value_seed(Seed {
                shape,
                path: &path,
                found: &mut *self.found,
            })?;
        }
        Ok(())
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
