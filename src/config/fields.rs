//! Reads a JSON object key by key, collects every problem, and can list the known keys.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::format::Format;
use super::key::{Entry, Key, Need, Shape, key};
use super::named_file::{NamedFile, Role};
use super::problem::Problem;
use crate::duration::GoDuration;
use crate::json::join;
use crate::spelling::nearest;

/// What is collected from a file.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) unknown: Vec<Unknown>,
    pub(super) files: Vec<NamedFile>,
    /// The keys, while they are listed.
    pub(super) outline: Option<Vec<Entry>>,
}

/// An unknown member of an object.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) known: Vec<&'static str>,
}

/// An object of the file. A null member counts as absent, as in Go.
pub(super) struct Fields {
    path: String,
    members: Map<String, Value>,
    known: Vec<&'static str>,
    /// Whether this is an object; otherwise nothing is missing in it.
    is_object: bool,
    findings: Rc<RefCell<Findings>>,
}

impl Fields {
    /// Returns the members of `value`, or reports that it is no object.
    pub(super) fn new(path: &str, value: Value, findings: &Rc<RefCell<Findings>>) -> Self {
        let mut fields = Self {
            path: path.to_owned(),
            members: Map::new(),
            known: Vec::new(),
            is_object: value.is_object(),
            findings: Rc::clone(findings),
        };
        match value {
            Value::Object(members) => fields.members = members,
            other => fields.wrong(path.to_owned(), &other, "an object, written as { ... }"),
        }
        fields
    }

    /// Reads a string; an absent one is empty.
    pub(super) fn text(&mut self, key: Key) -> String {
        match self.take(&key, Shape::Text(key.format)) {
            None => String::new(),
            Some(Value::String(text)) if text.is_empty() && matches!(key.need, Need::Required) => {
                self.report(self.at(key.name), format!("is empty; {}", proposal(&key)));
                text
            }
            Some(Value::String(text)) => text,
            Some(other) => {
                let want = match &other {
                    Value::Number(_) | Value::Bool(_) => {
                        format!("a string, written as \"{other}\"")
                    }
                    _ => "a string".to_owned(),
                };
                self.wrong(self.at(key.name), &other, &want);
                String::new()
            }
        }
    }

    /// Reads the path of a file with a role; an absent one is empty.
    pub(super) fn file(&mut self, key: Key, role: Role) -> String {
        let at = self.at(key.name);
        let path = self.text(match key.format {
            Format::Text => key.format(Format::File),
            _ => key,
        });
        if !path.is_empty() {
            self.findings.borrow_mut().files.push(NamedFile {
                key: at,
                path: path.clone(),
                role,
            });
        }
        path
    }

    /// Reads a list of strings; an absent one is empty.
    pub(super) fn texts(&mut self, key: Key) -> Vec<String> {
        let items = match self.take(&key, Shape::Texts(key.format)) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.wrong(self.at(key.name), &other, "a list of strings");
                Vec::new()
            }
        };
        let mut texts = Vec::new();
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                other => self.wrong(format!("{}[{at}]", self.at(key.name)), &other, "a string"),
            }
        }
        texts
    }

    /// Reads a boolean; an absent one without a default is false.
    pub(super) fn flag(&mut self, key: Key) -> bool {
        match self.take(&key, Shape::Flag) {
            None => false,
            Some(Value::Bool(flag)) => flag,
            Some(other) => {
                let quotes = if other.is_string() {
                    ", without quotes"
                } else {
                    ""
                };
                self.wrong(self.at(key.name), &other, &format!("true or false{quotes}"));
                false
            }
        }
    }

    /// Reads one of a few values.
    pub(super) fn choice<T: Clone>(&mut self, key: Key, options: &[(Value, T)]) -> Option<T> {
        let shape = Shape::Choice(options.iter().map(|(value, _)| value.clone()).collect());
        let allowed = shape.to_string();
        let value = self.take(&key, shape)?;
        let chosen = options.iter().find(|(option, _)| *option == value);
        if chosen.is_none() {
            let texts = options.iter().filter_map(|(option, _)| option.as_str());
            let near = value.as_str().and_then(|text| nearest(text, texts));
            let near = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            self.wrong(self.at(key.name), &value, &format!("{allowed}{near}"));
        }
        chosen.map(|(_, meaning)| meaning.clone())
    }

    /// Reads a whole number within a range; an absent one without a default is the smallest.
    pub(super) fn whole<T>(&mut self, key: Key, range: RangeInclusive<T>) -> T
    where
        T: Copy + PartialOrd + fmt::Display + TryFrom<u64> + Into<u64>,
    {
        let (least, most) = (*range.start(), *range.end());
        let Some(value) = self.take(&key, Shape::Whole(least.into(), most.into())) else {
            return least;
        };
        let number = value.as_u64().and_then(|number| T::try_from(number).ok());
        number
            .filter(|number| range.contains(number))
            .unwrap_or_else(|| {
                let quotes = if value.is_string() {
                    ", without quotes"
                } else {
                    ""
                };
                let want = format!("a whole number from {least} to {most}{quotes}");
                self.wrong(self.at(key.name), &value, &want);
                least
            })
    }

    /// Reads a number from 0 to `most`.
    pub(super) fn number(&mut self, key: Key, most: f64) -> f64 {
        let Some(value) = self.take(&key, Shape::Number(most)) else {
            return 0.0;
        };
        match value
            .as_f64()
            .filter(|number| (0.0..=most).contains(number))
        {
            Some(number) => number,
            None => {
                let want = format!("a number from 0 to {most}");
                self.wrong(self.at(key.name), &value, &want);
                0.0
            }
        }
    }

    /// Reads a positive duration.
    pub(super) fn duration(&mut self, key: Key) -> GoDuration {
        self.span(key.format(Format::Duration), 1)
    }

    /// Reads a duration that may be zero.
    pub(super) fn duration_or_zero(&mut self, key: Key) -> GoDuration {
        self.span(key.format(Format::DurationOrZero), 0)
    }

    fn span(&mut self, key: Key, least: i64) -> GoDuration {
        let Some(value) = self.take(&key, Shape::Text(key.format)) else {
            return GoDuration::default();
        };
        let at = self.at(key.name);
        let parsed = match &value {
            Value::String(text) => GoDuration::parse(text).map_err(|invalid| {
                let empty = format!("is empty; {}", proposal(&key));
                if text.is_empty() {
                    empty
                } else {
                    format!("is {}; {}", shown(&value), invalid.advice())
                }
            }),
            // Go reads a number as nanoseconds, which is a mistake here.
            Value::Number(number) => Err(format!(
                "is the number {number}; a duration is a string with a unit: {}",
                with_unit(number.as_i64().filter(|number| *number >= least), &key)
            )),
            _ => {
                let example = key.proposal().map(Value::to_string).unwrap_or_default();
                let want = format!("a duration, such as {example}");
                Err(format!("is {}; must be {want}", shown(&value)))
            }
        };
        match parsed {
            Ok(span) if span.as_nanos() < least => {
                let what = if least == 0 {
                    "not be negative"
                } else {
                    "be more than 0"
                };
                self.report(at, format!("is {value}; must {what}; {}", proposal(&key)));
                GoDuration::default()
            }
            Ok(span) => span,
            Err(why) => {
                self.report(at, why);
                GoDuration::default()
            }
        }
    }

    /// Reads an object, also an absent one.
    pub(super) fn object<T>(&mut self, key: Key, read: impl FnOnce(&mut Self) -> T) -> T {
        let value = self
            .take(&key, Shape::Object)
            .unwrap_or_else(|| Value::Object(Map::new()));
        self.child(self.at(key.name), value, read)
    }

    /// Reads an object if it is there.
    pub(super) fn optional<T>(&mut self, key: Key, read: impl FnOnce(&mut Self) -> T) -> Option<T> {
        let lists = self.findings.borrow().outline.is_some();
        let listed = lists.then(|| Value::Object(Map::new()));
        let value = self.take(&key, Shape::Optional).or(listed)?;
        Some(self.child(self.at(key.name), value, read))
    }

    /// Reads an object whose keys are names, such as `id`, and each of its members as an object.
    pub(super) fn named<T>(
        &mut self,
        key: Key,
        name: &str,
        read: impl Fn(&mut Self) -> T,
    ) -> BTreeMap<String, T> {
        let path = self.at(key.name);
        let value = self.take(&key, Shape::Named);
        if let Some(outline) = &mut self.findings.borrow_mut().outline
            && let Some(entry) = outline.last_mut()
        {
            entry.path = format!("{path}.<{name}>");
        }
        if self.findings.borrow().outline.is_some() {
            self.child(format!("{path}.<{name}>"), Value::Object(Map::new()), read);
            return BTreeMap::new();
        }
        let Some(value) = value else {
            return BTreeMap::new();
        };
        let entries = Self::new(&path, value, &self.findings);
        entries
            .members
            .into_iter()
            .map(|(name, value)| {
                let member = self.child(join(&path, &name), value, &read);
                (name, member)
            })
            .collect()
    }

    /// Reads whole numbers by name, within a range.
    pub(super) fn counts(&mut self, key: Key, range: RangeInclusive<u32>) -> BTreeMap<String, u32> {
        let (least, most) = (*range.start(), *range.end());
        let shape = Shape::Counts(least.into(), most.into());
        self.by_name(key, shape, |this, at, value| {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
            let number = number.filter(|number| range.contains(number));
            if number.is_none() {
                let want = format!("a whole number from {least} to {most}");
                this.wrong(at, &value, &want);
            }
            number
        })
    }

    /// Reads strings by name; an absent object has none.
    pub(super) fn strings(&mut self, key: Key) -> BTreeMap<String, String> {
        let shape = Shape::Strings(key.format);
        self.by_name(key, shape, |this, at, value| match value {
            Value::String(text) => Some(text),
            other => {
                this.wrong(at, &other, "a string");
                None
            }
        })
    }

    fn by_name<T>(
        &mut self,
        key: Key,
        shape: Shape,
        read: impl Fn(&Self, String, Value) -> Option<T>,
    ) -> BTreeMap<String, T> {
        let path = self.at(key.name);
        let members = match self.take(&key, shape) {
            None => Map::new(),
            Some(Value::Object(members)) => members,
            Some(other) => {
                self.wrong(path.clone(), &other, "an object, written as { ... }");
                Map::new()
            }
        };
        let members = members.into_iter().filter_map(|(name, value)| {
            let value = read(self, join(&path, &name), value)?;
            Some((name, value))
        });
        members.collect()
    }

    /// Ignores a key of classic files that has no meaning here.
    pub(super) fn ignore(&mut self, name: &'static str) {
        let key = key(name, "Accepted from classic files.").idle("wsman has no use for it");
        let _ = self.take(&key, Shape::Any);
    }

    /// Records the remaining members as unknown.
    pub(super) fn finish(self) {
        let unknown = self.members.into_iter().map(|(name, _)| Unknown {
            path: self.path.clone(),
            name,
            known: self.known.clone(),
        });
        self.findings.borrow_mut().unknown.extend(unknown);
    }

    fn take(&mut self, key: &Key, shape: Shape) -> Option<Value> {
        self.known.push(key.name);
        let path = self.at(key.name);
        if let Some(outline) = &mut self.findings.borrow_mut().outline {
            outline.push(Entry {
                object: self.path.clone(),
                path,
                shape,
                key: key.clone(),
            });
            return None;
        }
        let given = self.members.remove(key.name).filter(|v| !v.is_null());
        if let (Some(_), Some(why)) = (&given, key.idle) {
            let warning = Problem::warning(path, format!("has no effect: {why}"));
            self.findings.borrow_mut().problems.push(warning);
            return given;
        }
        if given.is_some() {
            return given;
        }
        match &key.need {
            Need::Required if self.is_object => {
                self.report(path, format!("is missing; {}", proposal(key)));
                None
            }
            Need::Default(value) => Some(value.clone()),
            Need::Required | Need::Optional(_) => None,
        }
    }

    fn child<T>(&self, path: String, value: Value, read: impl FnOnce(&mut Self) -> T) -> T {
        let mut child = Self::new(&path, value, &self.findings);
        child.is_object &= self.is_object;
        let out = read(&mut child);
        child.finish();
        out
    }

    fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn wrong(&self, path: String, value: &Value, want: &str) {
        self.report(path, format!("is {}; must be {want}", shown(value)));
    }

    fn report(&self, path: String, message: String) {
        let problem = Problem::error(path, message);
        self.findings.borrow_mut().problems.push(problem);
    }
}

/// Shows a value in an error. A long string, or one that may be an address with a password, is not repeated.
fn shown(value: &Value) -> String {
    match value {
        Value::Object(_) => "an object".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) if text.len() > 64 || text.contains(['@', '\n']) => {
            "a string".to_owned()
        }
        other => other.to_string(),
    }
}

fn proposal(key: &Key) -> String {
    match key.proposal() {
        Some(example) => format!("give one such as {example}"),
        None => "give one".to_owned(),
    }
}

/// Suggests a unit for a bare number: seconds if it is small, nanoseconds otherwise.
fn with_unit(number: Option<i64>, key: &Key) -> String {
    match number {
        Some(seconds @ 0..1_000_000) => format!("write \"{seconds}s\""),
        Some(nanos) if nanos > 0 => format!("write \"{}\"", GoDuration::from_nanos(nanos)),
        _ => proposal(key),
    }
}
