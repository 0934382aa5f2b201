//! Rules of the schema for keys that depend on or exclude each other. An empty string is the same as an absent key.

use serde_json::{Value, json};

/// Where the first key of a pair is given, the second must be, too.
pub(super) fn needs(pairs: &[(&str, &str)]) -> Vec<Value> {
    let need = |(key, other): &(&str, &str)| json!({ "if": given(key), "then": must(other) });
    pairs.iter().map(need).collect()
}

/// One of two keys must be given, and not both.
pub(super) fn either(one: &str, other: &str) -> Value {
    json!({ "if": given(one), "then": without(&[other]), "else": must(other) })
}

/// The first key is only given where the second has that value.
pub(super) fn only_with(key: &str, other: &str, value: &str) -> Value {
    json!({ "if": { "properties": { other: { "const": value } } }, "else": without(&[key]) })
}

/// An object in which a key is given.
pub(super) fn given(key: &str) -> Value {
    let mut given = must(key);
    given["type"] = "object".into();
    given
}

/// If it is an object, the key must be given in it.
pub(super) fn must(key: &str) -> Value {
    json!({ "required": [key], "properties": { key: { "not": absent() } } })
}

/// If it is an object, none of the keys is given in it.
pub(super) fn without(keys: &[&str]) -> Value {
    let keys = keys.iter().map(|key| ((*key).to_owned(), absent()));
    json!({ "properties": keys.collect::<serde_json::Map<_, _>>() })
}

/// A text that does not match a pattern.
pub(super) fn no(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": pattern })
}

fn absent() -> Value {
    json!({ "enum": [null, ""] })
}
