//! Generates the reference of all keys in docs/configuration.md.

use std::fmt::Write as _;

use super::key::{Entry, Need};
use super::keys;

/// Returns all known keys as Markdown: a section for each object, a row for each of its keys.
pub fn reference() -> String {
    let outline = keys::outline();
    let mut text = String::new();
    let objects = outline.iter().filter(|entry| entry.shape.is_object());
    for entry in objects {
        let _ = write!(text, "### `{}`\n\n{}\n\n", entry.path, entry.key.doc);
        write_table(&mut text, &outline, &entry.path);
    }
    text.push_str("### Other keys\n\nAt the top of the file.\n\n");
    write_table(&mut text, &outline, "");
    text
}

fn write_table(text: &mut String, outline: &[Entry], object: &str) {
    let keys = outline
        .iter()
        .filter(|entry| !entry.shape.is_object() && entry.object == object);
    let rows: String = keys.map(row).collect();
    if !rows.is_empty() {
        let head = "| Key | Type | Default | Example | Effect |\n|---|---|---|---|---|";
        let _ = write!(text, "{head}\n{rows}\n");
    }
}

fn row(entry: &Entry) -> String {
    let key = &entry.key;
    let default = match &key.need {
        Need::Required => "required".to_owned(),
        Need::Default(value) => format!("`{value}`"),
        Need::Optional(words) => (*words).to_owned(),
    };
    let example = key
        .proposal()
        .map_or(String::new(), |value| format!("`{value}`"));
    let effect = match key.idle {
        Some(why) => format!("{} No effect: {why}.", key.doc),
        None => key.doc.to_owned(),
    };
    let kind = entry.shape.to_string().replace('|', "\\|");
    format!(
        "| `{}` | {kind} | {default} | {example} | {effect} |\n",
        key.name
    )
}
