//! Reads a JSON object key by key and collects everything that is wrong with it, with paths.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value};

use super::Problem;
use crate::duration::GoDuration;

/// Where problems are collected while a file is read.
pub(super) type Problems = Rc<RefCell<Vec<Problem>>>;

/// An object of the file. A null member counts as absent, as in Go.
pub(super) struct Fields {
    path: String,
    members: Map<String, Value>,
    known: Vec<&'static str>,
    problems: Problems,
}

impl Fields {
    /// Returns the members of `value`, which is reported unless it is an object.
    pub(super) fn new(path: &str, value: Value, problems: &Problems) -> Self {
        let mut fields = Self {
            path: path.to_owned(),
            members: Map::new(),
            known: Vec::new(),
            problems: Rc::clone(problems),
        };
        match value {
            Value::Object(members) => fields.members = members,
            other => fields.wrong(path.to_owned(), &other, "an object"),
        }
        fields
    }

    /// Takes a string; an absent one is empty.
    pub(super) fn text(&mut self, key: &'static str) -> String {
        match self.take(key) {
            None => String::new(),
            Some(Value::String(text)) => text,
            Some(other) => {
                self.wrong(self.at(key), &other, "a string");
                String::new()
            }
        }
    }

    /// Takes a list of strings; an absent one is empty.
    pub(super) fn texts(&mut self, key: &'static str) -> Vec<String> {
        let items = match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(other) => {
                self.wrong(self.at(key), &other, "a list of strings");
                Vec::new()
            }
        };
        let texts = items
            .into_iter()
            .enumerate()
            .filter_map(|(at, item)| match item {
                Value::String(text) => Some(text),
                other => {
                    self.wrong(format!("{}[{at}]", self.at(key)), &other, "a string");
                    None
                }
            });
        texts.collect()
    }

    /// Takes a boolean.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<bool> {
        match self.take(key)? {
            Value::Bool(flag) => Some(flag),
            other => {
                self.wrong(self.at(key), &other, "true or false");
                None
            }
        }
    }

    /// Takes a whole number that fits `T`.
    pub(super) fn whole<T: TryFrom<u64>>(&mut self, key: &'static str) -> Option<T> {
        let value = self.take(key)?;
        let number = value.as_u64().and_then(|n| T::try_from(n).ok());
        if number.is_none() {
            self.wrong(
                self.at(key),
                &value,
                "a whole number in range, not negative",
            );
        }
        number
    }

    /// Takes a number.
    pub(super) fn number(&mut self, key: &'static str) -> Option<f64> {
        let value = self.take(key)?;
        let number = value.as_f64();
        if number.is_none() {
            self.wrong(self.at(key), &value, "a number");
        }
        number
    }

    /// Takes a duration: a string in Go's grammar, or nanoseconds as a number.
    pub(super) fn duration(&mut self, key: &'static str) -> Option<GoDuration> {
        let value = self.take(key)?;
        let duration = match &value {
            Value::String(text) => GoDuration::parse(text).ok(),
            Value::Number(number) => number.as_i64().map(GoDuration::from_nanos),
            _ => None,
        };
        if duration.is_none() {
            let want = "a duration such as \"1h30m\", or nanoseconds as a number";
            self.wrong(self.at(key), &value, want);
        }
        duration
    }

    /// Takes an object, absent ones too, and reads it.
    pub(super) fn object<T>(&mut self, key: &'static str, read: impl FnOnce(&mut Self) -> T) -> T {
        let value = self.take(key).unwrap_or_else(|| Value::Object(Map::new()));
        self.child(self.at(key), value, read)
    }

    /// Takes an object and reads it if it is there.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let value = self.take(key)?;
        Some(self.child(self.at(key), value, read))
    }

    /// Takes an object whose keys are names, and reads each of its members as an object.
    pub(super) fn named<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Self) -> T,
    ) -> BTreeMap<String, T> {
        let Some(value) = self.take(key) else {
            return BTreeMap::new();
        };
        let entries = Self::new(&self.at(key), value, &self.problems);
        let path = entries.path.clone();
        entries
            .members
            .into_iter()
            .map(|(name, value)| {
                let member = self.child(join(&path, &name), value, &read);
                (name, member)
            })
            .collect()
    }

    /// Passes over a key of the classic file that has no meaning here, whatever it holds.
    pub(super) fn ignore(&mut self, key: &'static str) {
        let _ = self.take(key);
    }

    /// Reports members that nobody took.
    pub(super) fn finish(self) {
        for key in self.members.keys() {
            let near = self
                .known
                .iter()
                .find(|known| known.eq_ignore_ascii_case(key) || distance(known, key) <= 2);
            let advice = match near {
                Some(near) => format!("did you mean {near:?}?"),
                None if self.known.is_empty() => "remove it".to_owned(),
                None => format!("remove it; known here: {}", self.known.join(", ")),
            };
            self.problems.borrow_mut().push(Problem {
                path: self.at(key),
                message: format!("unknown key; {advice}"),
            });
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.members.remove(key).filter(|value| !value.is_null())
    }

    fn child<T>(&self, path: String, value: Value, read: impl FnOnce(&mut Self) -> T) -> T {
        let mut child = Self::new(&path, value, &self.problems);
        let out = read(&mut child);
        child.finish();
        out
    }

    fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }

    fn wrong(&self, path: String, value: &Value, want: &str) {
        let shown = match value {
            Value::Object(_) => "an object".to_owned(),
            Value::Array(_) => "a list".to_owned(),
            other => other.to_string(),
        };
        let subject = if path.is_empty() { "the file " } else { "" };
        self.problems.borrow_mut().push(Problem {
            path,
            message: format!("{subject}is {shown}; must be {want}"),
        });
    }
}

/// Returns the path of a member; names that would be misread in it are quoted.
pub(super) fn join(path: &str, key: &str) -> String {
    let plain = !key.is_empty()
        && key
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

/// Returns how many letters must be added, removed or changed to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    if a.len().abs_diff(b.len()) > 2 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
