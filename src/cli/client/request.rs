//! Reads start requests from a file or standard input: JSON or YAML, in either spelling of names, without unknown
//! fields.

use std::path::Path;

use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::exit::Failure;
use crate::cli::input;
use crate::proto::duplicates;
use crate::proto::wsman::StartWorkspaceRequest;
use crate::redact::without_texts;

/// The full name of what starts a workspace.
const WORKSPACE: &str = "wsman.StartWorkspaceRequest";

pub(super) fn read(path: &Path) -> Result<StartWorkspaceRequest, Failure> {
    let name = input::name(path);
    let text = input::text(path, input::SMALL)?;
    parse(&text).map_err(|error| Failure::usage(format!("{name}: {error}")))
}

/// Reads all messages of a file: YAML documents, or JSON objects one after the other. `message` is their full name.
pub(in crate::cli) fn documents<T: DeserializeOwned>(
    path: &Path,
    message: &str,
) -> Result<Vec<T>, Failure> {
    let name = input::name(path);
    let text = input::text(path, input::SMALL)?;
    let text = text.trim_start_matches('\u{feff}');
    let fault = |at: usize, error: String| {
        let place = match at {
            0 => name.clone(),
            at => format!("{name}, document {}", at + 1),
        };
        Failure::usage(format!("{place}: {error}"))
    };
    let mut read = Vec::new();
    if text.trim_start().starts_with('{') {
        let mut values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        let mut begin = 0;
        while let Some(value) = values.next() {
            let at = read.len();
            value.map_err(|error| fault(at, error.to_string()))?;
            let one = &text[begin..values.byte_offset()];
            begin = values.byte_offset();
            read.push(json(one, message).map_err(|error| fault(at, error))?);
        }
    } else {
        let values: Vec<Value> =
            serde_saphyr::from_multiple(text).map_err(|error| fault(0, yaml_error(&error)))?;
        for (at, value) in values.iter().enumerate() {
            read.push(typed(value).map_err(|error| fault(at, error))?);
        }
    }
    match read.is_empty() {
        true => Err(fault(0, "it is empty".to_owned())),
        false => Ok(read),
    }
}

/// Reads a request. Errors start with the path of the field.
fn parse(text: &str) -> Result<StartWorkspaceRequest, String> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Err("it is empty".to_owned());
    }
    if text.trim_start().starts_with('{') {
        return json(text, WORKSPACE);
    }
    // Through a plain value: a number instead of a string stays an error, as in JSON.
    let value: Value = serde_saphyr::from_str(text).map_err(|error| yaml_error(&error))?;
    typed(&value)
}

fn json<T: DeserializeOwned>(text: &str, message: &str) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_str(text);
    let request = typed(&mut json)?;
    unique_in(message, text)?;
    json.end()
        .map(|()| request)
        .map_err(|error| error.to_string())
}

/// Rejects a duplicate field.
pub(in crate::cli) fn unique(text: &str) -> Result<(), String> {
    unique_in(WORKSPACE, text)
}

fn unique_in(message: &str, text: &str) -> Result<(), String> {
    match duplicates::find_in(message, text) {
        Some(twice) => Err(format!("{}: {}", twice.field, twice.why)),
        None => Ok(()),
    }
}

fn typed<'de, T: DeserializeOwned, D: Deserializer<'de>>(input: D) -> Result<T, String>
where
    D::Error: std::fmt::Display,
{
    serde_path_to_error::deserialize(input).map_err(|error| {
        let path = error.path().to_string();
        let why = plain(&error.inner().to_string());
        // An error of syntax, such as a missing brace, has a dot or a question mark as its path.
        match path.trim_end_matches('?').trim_end_matches('.') {
            "" => why,
            path => format!("{path}: {why}"),
        }
    })
}

/// The generated code reads numbers through types whose names mean nothing to a user.
fn plain(error: &str) -> String {
    without_texts(error)
        .replace(
            "data did not match any variant of untagged enum Content",
            "not a number that fits",
        )
        .replace("invalid digit found in string", "not a number that fits")
}

/// The position and the error, without the excerpt of the full text.
fn yaml_error(error: &serde_saphyr::Error) -> String {
    let text = error
        .without_snippet()
        .render_with_formatter(&serde_saphyr::UserMessageFormatter);
    text.lines()
        .next()
        .unwrap_or_default()
        .trim_start_matches("error: ")
        .to_owned()
}
