//! Reads the fields of an object one by one. What does not fit, and what nobody read, is a fault with its path.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::error::FieldViolation;

/// All faults so far.
#[derive(Default)]
pub(super) struct Faults(RefCell<Vec<FieldViolation>>);

impl Faults {
    pub(super) fn into_inner(self) -> Vec<FieldViolation> {
        self.0.into_inner()
    }
}

/// An object whose fields are read.
pub(super) struct Object<'a> {
    path: String,
    fields: Option<&'a Map<String, Value>>,
    read: BTreeSet<String>,
    faults: &'a Faults,
}

impl<'a> Object<'a> {
    pub(super) fn root(value: &'a Value, faults: &'a Faults) -> Self {
        Self::new(String::new(), Some(value), faults)
    }

    fn new(path: String, value: Option<&'a Value>, faults: &'a Faults) -> Self {
        let object = Self {
            path,
            fields: value.and_then(Value::as_object),
            read: BTreeSet::new(),
            faults,
        };
        if value.is_some_and(|value| !value.is_object()) {
            object.fault(object.path.clone(), "is no object");
        }
        object
    }

    /// Refuses a field.
    pub(super) fn refuse(&self, name: &str, why: &str) {
        self.fault(self.within(name), why);
    }

    /// Refuses every field that was not read. `why` says why not.
    pub(super) fn end(&self, why: impl Fn(&str) -> &'static str) {
        for (name, value) in self.fields.into_iter().flatten() {
            if !self.read.contains(name) && !value.is_null() {
                self.refuse(name, why(name));
            }
        }
    }

    pub(super) fn ignore(&mut self, names: &[&str]) {
        self.read
            .extend(names.iter().map(|name| (*name).to_owned()));
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.is_some_and(|fields| fields.contains_key(name))
    }

    /// A string; empty where there is none.
    pub(super) fn text(&mut self, name: &str) -> String {
        match self.take(name) {
            None => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(_) => {
                self.refuse(name, "is no string");
                String::new()
            }
        }
    }

    /// A whole number of at least 1.
    pub(super) fn seconds(&mut self, name: &str) -> Option<u32> {
        let value = self.take(name)?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| *number > 0);
        if number.is_none() {
            self.refuse(name, "is no whole number of at least 1");
        }
        number
    }

    /// A list of strings.
    pub(super) fn list(&mut self, name: &str) -> Vec<String> {
        let Some(value) = self.take(name) else {
            return Vec::new();
        };
        let items = value.as_array().map(|items| {
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            texts.collect::<Option<Vec<_>>>()
        });
        items.flatten().unwrap_or_else(|| {
            self.refuse(name, "is no list of strings");
            Vec::new()
        })
    }

    /// A map of strings. Quantities may be numbers.
    pub(super) fn texts(&mut self, name: &str) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        let Some(value) = self.take(name) else {
            return texts;
        };
        let Some(fields) = value.as_object() else {
            self.refuse(name, "is no map of strings");
            return texts;
        };
        for (key, value) in fields {
            match value {
                Value::String(text) => texts.insert(key.clone(), text.clone()),
                Value::Number(number) => texts.insert(key.clone(), number.to_string()),
                _ => {
                    self.refuse(name, &format!("{key} is no string"));
                    None
                }
            };
        }
        texts
    }

    /// An object; empty where there is none.
    pub(super) fn object(&mut self, name: &str) -> Self {
        let value = self.take(name);
        Self::new(self.within(name), value, self.faults)
    }

    /// An object, if there is one.
    pub(super) fn one(&mut self, name: &str) -> Vec<Self> {
        match self.has(name) {
            true => vec![self.object(name)],
            false => Vec::new(),
        }
    }

    /// A list of objects.
    pub(super) fn many(&mut self, name: &str) -> Vec<Self> {
        let Some(value) = self.take(name) else {
            return Vec::new();
        };
        let Some(items) = value.as_array() else {
            self.refuse(name, "is no list");
            return Vec::new();
        };
        let path = self.within(name);
        let item = |(at, item)| Self::new(format!("{path}[{at}]"), Some(item), self.faults);
        items.iter().enumerate().map(item).collect()
    }

    /// A list of objects, or one.
    pub(super) fn one_or_many(&mut self, name: &str) -> Vec<Self> {
        let value = self.fields.and_then(|fields| fields.get(name));
        match value.is_some_and(Value::is_object) {
            true => self.one(name),
            false => self.many(name),
        }
    }

    /// A value that is there.
    fn take(&mut self, name: &str) -> Option<&'a Value> {
        self.read.insert(name.to_owned());
        let value = self.fields?.get(name)?;
        Some(value).filter(|value| !value.is_null())
    }

    fn within(&self, name: &str) -> String {
        match self.path.as_str() {
            "" => name.to_owned(),
            path => format!("{path}.{name}"),
        }
    }

    fn fault(&self, path: String, why: &str) {
        let fault = FieldViolation::new(path, why);
        self.faults.0.borrow_mut().push(fault);
    }
}
