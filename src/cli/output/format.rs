//! The formats of results, and their names in `--output`.

use std::ffi::OsStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::jsonpath::JsonPath;

/// The format of results.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For people with wide terminals: every column, nothing cut.
    Wide,
    /// Only the ids, one per line.
    Name,
    /// For programs: proto3 JSON; streams have one object per line.
    Json,
    /// For programs: the same as YAML; streams have one document per value.
    Yaml,
    /// A template applied to the JSON.
    JsonPath(JsonPath),
}

#[derive(Clone, Copy, Debug)]
pub enum Formats {
    /// All formats.
    All,
    /// The formats of a report, which has no columns and no ids.
    Report,
}

impl TypedValueParser for Formats {
    type Value = Format;

    fn parse_ref(
        &self,
        command: &clap::Command,
        argument: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<Format, clap::Error> {
        let text = value.to_string_lossy();
        let is_all = matches!(self, Self::All);
        match text.as_ref() {
            "table" => return Ok(Format::Table),
            "json" => return Ok(Format::Json),
            "yaml" => return Ok(Format::Yaml),
            "wide" if is_all => return Ok(Format::Wide),
            "name" if is_all => return Ok(Format::Name),
            _ => {}
        }
        if let Some(template) = text.strip_prefix("jsonpath=").filter(|_| is_all) {
            return JsonPath::parse(template)
                .map(Format::JsonPath)
                .map_err(|why| {
                    let message = format!("invalid template {template:?}: {why}\n");
                    clap::Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
                });
        }
        let mut error = clap::Error::new(ErrorKind::InvalidValue).with_cmd(command);
        let name = argument.map_or_else(|| "--output".to_owned(), ToString::to_string);
        let known: Vec<String> = names(is_all).map(str::to_owned).collect();
        for (kind, value) in [
            (ContextKind::InvalidArg, ContextValue::String(name)),
            (
                ContextKind::InvalidValue,
                ContextValue::String(text.into_owned()),
            ),
            (ContextKind::ValidValue, ContextValue::Strings(known)),
        ] {
            error.insert(kind, value);
        }
        Err(error)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        let values = names(matches!(self, Self::All)).map(|name| {
            PossibleValue::new(name).help(match name {
                "table" => "For people",
                "wide" => "For people: every column, nothing cut",
                "name" => "The ids, one per line",
                "json" => "For programs: proto3 JSON with the names of the proto file; streams have one object per line",
                "yaml" => "For programs: the same as YAML; streams have one document per value",
                _ => "What a template takes out of the JSON, as with kubectl",
            })
        });
        Some(Box::new(values))
    }
}

fn names(all: bool) -> impl Iterator<Item = &'static str> {
    let more = ["wide", "name", "jsonpath=TEMPLATE"];
    let names = ["table", "wide", "json", "yaml", "name", "jsonpath=TEMPLATE"];
    names
        .into_iter()
        .filter(move |name| all || !more.contains(name))
}
