//! Generates the JSON Schema of the file, from the keys of the reader.
//!
//! It accepts every file that the reader and the checks accept. Its tests list what it cannot reject.

use serde_json::{Map, Value, json};

use super::format::Format;
use super::key::{Entry, NONE, Need, Shape};
use super::keys;

/// Returns the schema of a configuration file (JSON Schema 2020-12).
pub fn schema() -> Value {
    let outline = keys::outline();
    let outline = Outline(&outline);
    let mut schema = outline.members("");
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "Configuration of wsman".into();
    schema["description"] = "The file that `wsman run --config` reads.".into();
    schema["$defs"] = outline.formats();
    schema
}

struct Outline<'a>(&'a [Entry]);

impl Outline<'_> {
    /// Returns the schema of an object with its keys, and no others.
    fn members(&self, object: &str) -> Value {
        let entries = || self.0.iter().filter(|entry| entry.object == object);
        let properties = entries().map(|entry| (entry.key.name.to_owned(), self.entry(entry)));
        let mut schema = json!({
            "type": "object",
            "properties": properties.collect::<Map<_, _>>(),
            "additionalProperties": false,
        });
        let needed: Vec<&str> = entries()
            .filter(|entry| self.is_needed(entry))
            .map(|entry| entry.key.name)
            .collect();
        if !needed.is_empty() {
            schema["required"] = needed.into();
        }
        schema
    }

    /// Whether the file must have it: it is required, or a key in it is.
    fn is_needed(&self, entry: &Entry) -> bool {
        match entry.shape {
            Shape::Object => {
                let mut inside = self.0.iter().filter(|inner| inner.object == entry.path);
                inside.any(|inner| self.is_needed(inner))
            }
            Shape::Named => (entry.key.rules)()
                .iter()
                .any(|rule| rule.get("required").is_some()),
            _ => matches!(entry.key.need, Need::Required),
        }
    }

    fn entry(&self, entry: &Entry) -> Value {
        let key = &entry.key;
        let is_needed = self.is_needed(entry);
        let mut schema = match &entry.shape {
            Shape::Object | Shape::Optional => self.members(&entry.path),
            Shape::Named => {
                json!({ "type": "object", "additionalProperties": self.members(&entry.path) })
            }
            Shape::Text(format) => {
                let mut schema = text(*format);
                if is_needed {
                    schema["minLength"] = 1.into();
                }
                schema
            }
            Shape::Texts(format) => json!({ "type": "array", "items": text(*format) }),
            Shape::Counts(least, most) => {
                let count = json!({ "type": "integer", "minimum": least, "maximum": most });
                json!({ "type": "object", "additionalProperties": count })
            }
            Shape::Strings(format) => {
                json!({ "type": "object", "additionalProperties": text(*format) })
            }
            Shape::Flag => json!({ "type": "boolean" }),
            Shape::Choice(values) => json!({ "enum": values }),
            Shape::Whole(least, most) => {
                json!({ "type": "integer", "minimum": least, "maximum": most })
            }
            Shape::Number(most) => json!({ "type": "number", "minimum": 0, "maximum": most }),
            Shape::Any => json!({}),
        };
        // A null counts as absent.
        if !is_needed && let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
            values.push(Value::Null);
        } else if !is_needed && let Some(kind) = schema.get_mut("type") {
            *kind = json!([kind, "null"]);
        }
        schema["description"] = description(entry).into();
        if let Need::Default(value) = &key.need {
            schema["default"] = value.clone();
        }
        if let Some(example) = &key.example {
            schema["examples"] = json!([example]);
        }
        if key.idle.is_some() {
            schema["deprecated"] = true.into();
        }
        let rules = (key.rules)();
        if !rules.is_empty() {
            schema["allOf"] = rules.into();
        }
        schema
    }

    /// Returns the definitions of the kinds of strings.
    fn formats(&self) -> Value {
        let formats = self.0.iter().filter_map(|entry| match entry.shape {
            Shape::Text(format) | Shape::Texts(format) | Shape::Strings(format) => {
                Some((format.id()?, format))
            }
            _ => None,
        });
        let schemas = formats.map(|(id, format)| {
            let mut schema = format.schema();
            schema["title"] = format.name().into();
            (id.to_owned(), schema)
        });
        Value::Object(schemas.collect())
    }
}

fn text(format: Format) -> Value {
    match format.id() {
        Some(id) => json!({ "type": "string", "$ref": format!("#/$defs/{id}") }),
        None => json!({ "type": "string" }),
    }
}

fn description(entry: &Entry) -> String {
    let key = &entry.key;
    let mut text = key.doc.to_owned();
    let format = match entry.shape {
        Shape::Text(format) | Shape::Texts(format) => format.syntax(),
        _ => None,
    };
    if let Some(sentence) = format {
        text.push_str(&format!(" {sentence}"));
    }
    match key.need {
        Need::Optional(words) if words != NONE => text.push_str(&format!(" Default: {words}.")),
        _ => {}
    }
    if let Some(why) = key.idle {
        text.push_str(&format!(" No effect: {why}."));
    }
    text
}

#[cfg(test)]
mod tests;
