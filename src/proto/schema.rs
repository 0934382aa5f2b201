//! Generates the JSON Schema of a message in proto3 JSON, from its descriptor and the comments of the proto files.
//!
//! It accepts what the generated readers accept: either spelling of a field, enums by name or number, numbers as
//! strings, null where a field can be absent.

use prost_reflect::{
    EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor, OneofDescriptor,
};
use serde_json::{Map, Value, json};

/// Returns the schema of a message (JSON Schema 2020-12). `more` returns the rules of a message, an enum or a field
/// besides its type, by full name; `name[]` is for the elements of a list or the values of a map. Lists of `more`
/// extend those that are there, and `required` has the names of the proto file.
pub fn of(message: &MessageDescriptor, more: fn(&str) -> Option<Value>) -> Value {
    let mut writer = Writer {
        more,
        definitions: Map::new(),
    };
    let mut schema = writer.message(message);
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["$defs"] = writer.definitions.into();
    schema
}

/// Requires a field, in one of its spellings, with such a value.
pub fn has(spellings: &[&str], value: &Value) -> Value {
    let has = |name: &&str| json!({ "required": [name], "properties": { *name: value } });
    match spellings {
        [name] => has(name),
        names => json!({ "anyOf": names.iter().map(has).collect::<Vec<_>>() }),
    }
}

struct Writer {
    more: fn(&str) -> Option<Value>,
    definitions: Map<String, Value>,
}

impl Writer {
    /// Returns a reference to the schema of a message, and adds the schema if it is missing.
    fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.full_name();
        match name {
            "google.protobuf.Timestamp" => {
                let time = "^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?([Zz]|[-+][0-9]{2}:[0-9]{2})$";
                return json!({ "type": "string", "format": "date-time", "pattern": time });
            }
            "google.protobuf.Duration" => {
                return json!({ "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]{1,9})?s$" });
            }
            _ => {}
        }
        if !self.definitions.contains_key(name) {
            // Messages may contain themselves.
            self.definitions.insert(name.to_owned(), Value::Null);
            let definition = self.members(message);
            self.definitions.insert(name.to_owned(), definition);
        }
        json!({ "type": "object", "$ref": format!("#/$defs/{name}") })
    }

    fn members(&mut self, message: &MessageDescriptor) -> Value {
        let mut properties = Map::new();
        let mut rules = Vec::new();
        for field in message.fields() {
            let schema = self.field(&field);
            properties.insert(field.json_name().to_owned(), schema);
            if field.name() != field.json_name() {
                let path = format!(
                    "#/$defs/{}/properties/{}",
                    message.full_name(),
                    field.json_name()
                );
                properties.insert(field.name().to_owned(), json!({ "$ref": path }));
                rules.push(json!({ "not": { "type": "object", "required": spellings(&field) } }));
            }
        }
        let oneofs = message.oneofs().filter(|oneof| !oneof.is_synthetic());
        rules.extend(oneofs.map(|oneof| one_at_most(&oneof)));
        let mut schema = json!({ "properties": properties, "additionalProperties": false });
        describe(&mut schema, comment(&message.parent_file(), message.path()));
        let mut more = (self.more)(message.full_name()).unwrap_or_else(|| json!({}));
        let required = more
            .as_object_mut()
            .and_then(|more| more.remove("required"));
        for name in required.iter().flat_map(|names| names.as_array()).flatten() {
            let field = name
                .as_str()
                .and_then(|name| message.get_field_by_name(name));
            rules.extend(field.map(|field| {
                has(
                    &spellings(&field),
                    &json!({ "not": { "enum": [null, ""] } }),
                )
            }));
        }
        if !rules.is_empty() {
            add(&mut schema, json!({ "allOf": rules }));
        }
        add(&mut schema, more);
        schema
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        let elements = |writer: &mut Self, kind: &Kind| {
            let mut schema = writer.value(kind);
            let more = (writer.more)(&format!("{}[]", field.full_name()));
            add(&mut schema, more.unwrap_or_default());
            schema
        };
        let mut schema = match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let values = elements(self, &entry.map_entry_value_field().kind());
                json!({ "type": "object", "additionalProperties": values })
            }
            kind if field.is_list() => json!({ "type": "array", "items": elements(self, &kind) }),
            kind => self.value(&kind),
        };
        let is_message =
            matches!(field.kind(), Kind::Message(_)) && !field.is_list() && !field.is_map();
        if (is_message || field.containing_oneof().is_some())
            && let Some(kind) = schema.get_mut("type")
        {
            *kind = json!([kind, "null"]);
        }
        describe(
            &mut schema,
            comment(&field.parent_message().parent_file(), field.path()),
        );
        let options = field.field_descriptor_proto().options.clone();
        if options.is_some_and(|options| options.deprecated()) {
            schema["deprecated"] = true.into();
        }
        let more = (self.more)(field.full_name());
        add(&mut schema, more.unwrap_or_default());
        schema
    }

    /// Returns the schema of one value.
    fn value(&mut self, kind: &Kind) -> Value {
        let whole = |least: i64, most: u64| {
            let sign = if least < 0 { "[-+]" } else { "\\+" };
            let digits = most.to_string().len();
            let pattern = format!("^{sign}?0*[0-9]{{1,{digits}}}$");
            json!({ "type": ["integer", "string"], "minimum": least, "maximum": most, "pattern": pattern })
        };
        match kind {
            Kind::String => json!({ "type": "string" }),
            Kind::Bytes => json!({ "type": "string", "contentEncoding": "base64" }),
            Kind::Bool => json!({ "type": "boolean", "default": false }),
            Kind::Double | Kind::Float => json!({ "type": ["number", "string"] }),
            Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => whole(i32::MIN.into(), i32::MAX as u64),
            Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => whole(i64::MIN, i64::MAX as u64),
            Kind::Uint32 | Kind::Fixed32 => whole(0, u32::MAX.into()),
            Kind::Uint64 | Kind::Fixed64 => whole(0, u64::MAX),
            Kind::Message(message) => self.message(message),
            Kind::Enum(kind) => {
                let name = kind.full_name();
                if !self.definitions.contains_key(name) {
                    let mut schema = choices(kind);
                    add(&mut schema, (self.more)(name).unwrap_or_default());
                    self.definitions.insert(name.to_owned(), schema);
                }
                json!({ "$ref": format!("#/$defs/{name}"), "default": kind.default_value().name() })
            }
        }
    }
}

/// An enum: its names, or its numbers.
fn choices(kind: &EnumDescriptor) -> Value {
    let file = kind.parent_file();
    let names = kind.values().map(|value| Value::from(value.name()));
    let numbers = kind.values().map(|value| value.number().into());
    let mut schema = json!({ "enum": names.chain(numbers).collect::<Vec<_>>() });
    let own = comment(&file, kind.path());
    let values = kind.values().filter_map(|value| {
        Some(format!(
            "`{}`: {}",
            value.name(),
            comment(&file, value.path())?
        ))
    });
    let texts: Vec<String> = own.into_iter().chain(values).collect();
    describe(
        &mut schema,
        Some(texts.join(" ")).filter(|text| !text.is_empty()),
    );
    schema
}

/// At most one field of a oneof is set.
fn one_at_most(oneof: &OneofDescriptor) -> Value {
    let set = oneof.fields().map(|field| {
        let mut set = has(&spellings(&field), &json!({ "not": { "type": "null" } }));
        set["type"] = "object".into();
        set
    });
    let mut ways: Vec<Value> = set.collect();
    ways.push(json!({ "not": { "anyOf": ways } }));
    json!({ "oneOf": ways })
}

/// The names of a field in JSON.
fn spellings(field: &FieldDescriptor) -> Vec<&str> {
    let mut names = vec![field.json_name(), field.name()];
    names.dedup();
    names
}

/// The comment before a part of a proto file.
fn comment(file: &FileDescriptor, path: &[i32]) -> Option<String> {
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    let location = info
        .location
        .iter()
        .find(|location| location.path == path)?;
    let lines = location.leading_comments().lines().map(str::trim);
    Some(lines.collect::<Vec<_>>().join(" ")).filter(|text| !text.is_empty())
}

fn describe(schema: &mut Value, text: Option<String>) {
    if let Some(text) = text {
        schema["description"] = text.into();
    }
}

/// Adds keywords; lists extend those that are there.
fn add(schema: &mut Value, more: Value) {
    let Value::Object(more) = more else { return };
    for (keyword, value) in more {
        match (schema.get_mut(&keyword), value) {
            (Some(Value::Array(there)), Value::Array(values)) => there.extend(values),
            (_, value) => schema[&keyword] = value,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::method;

    #[test]
    fn every_message_has_a_schema() {
        let mut count = 0;
        for name in [
            "wsman.StartWorkspaceRequest",
            "wsman.WorkspaceStatus",
            "wsman.inspect.v1.ExplainWorkspaceResponse",
        ] {
            let schema = of(&method::message(name).unwrap(), |_| None);
            jsonschema::draft202012::meta::validate(&schema).unwrap();
            jsonschema::draft202012::new(&schema).unwrap();
            let defined = schema["$defs"].as_object().unwrap();
            count += defined.len();
            for (name, schema) in defined {
                // Google's types are strings.
                assert!(!name.starts_with("google.") && schema.is_object(), "{name}");
            }
        }
        assert!(count > 30, "{count}");
    }
}
