//! Label and field selectors: the text of a query parameter into a predicate on objects.

use serde_json::Value;

use super::resources::{Index, selectable};
use super::status::Status;
use super::validate;

/// Which objects a list or watch selects.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selector {
    labels: Vec<Requirement>,
    fields: Vec<FieldRequirement>,
}

#[derive(Clone, Debug)]
struct Requirement {
    key: String,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    In(Vec<String>),
    NotIn(Vec<String>),
    Exists,
    Absent,
    Above(i64),
    Below(i64),
}

#[derive(Clone, Debug)]
struct FieldRequirement {
    field: String,
    value: String,
    equal: bool,
}

impl Selector {
    /// Parses both parameters for a list of this kind; empty texts select everything.
    pub(crate) fn parse(index: Index, labels: &str, fields: &str) -> Result<Self, Status> {
        let fields = parse_fields(fields)?;
        for requirement in &fields {
            if selectable(index, &Value::Null, &requirement.field).is_none() {
                return Err(Status::bad_request(format!(
                    "field label not supported: {}",
                    requirement.field
                )));
            }
        }
        let labels = Labels {
            rest: labels.trim(),
        }
        .parse()
        .map_err(|why| Status::bad_request(format!("unable to parse requirement: {why}")))?;
        Ok(Self { labels, fields })
    }

    /// Whether it selects everything.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    pub(crate) fn matches(&self, index: Index, object: &Value) -> bool {
        let labels = &object["metadata"]["labels"];
        self.labels.iter().all(|requirement| {
            requirement.holds(labels.get(&requirement.key).and_then(Value::as_str))
        }) && self.fields.iter().all(|requirement| {
            let value = selectable(index, object, &requirement.field).unwrap_or_default();
            (value == requirement.value) == requirement.equal
        })
    }
}

impl Requirement {
    fn holds(&self, value: Option<&str>) -> bool {
        let number = || value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::In(values) => value.is_some_and(|value| values.iter().any(|one| one == value)),
            Test::NotIn(values) => {
                !value.is_some_and(|value| values.iter().any(|one| one == value))
            }
            Test::Exists => value.is_some(),
            Test::Absent => value.is_none(),
            Test::Above(limit) => number().is_some_and(|number| number > *limit),
            Test::Below(limit) => number().is_some_and(|number| number < *limit),
        }
    }
}

fn parse_fields(text: &str) -> Result<Vec<FieldRequirement>, Status> {
    let terms = text.split(',').filter(|term| !term.is_empty());
    terms
        .map(|term| {
            let (field, value, equal) = if let Some((field, value)) = term.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) =
                term.split_once("==").or_else(|| term.split_once('='))
            {
                (field, value, true)
            } else {
                let why = format!("invalid field selector term {term:?}");
                return Err(Status::bad_request(format!(
                    "unable to parse requirement: {why}"
                )));
            };
            Ok(FieldRequirement {
                field: field.into(),
                value: value.into(),
                equal,
            })
        })
        .collect()
}

/// A recursive-descent reader of the label selector grammar.
struct Labels<'a> {
    rest: &'a str,
}

impl<'a> Labels<'a> {
    fn parse(mut self) -> Result<Vec<Requirement>, String> {
        let mut all = Vec::new();
        while !self.rest.is_empty() {
            all.push(self.requirement()?);
            if self.eat(",") {
                if self.rest.is_empty() {
                    return Err("found '', expected: identifier after ','".into());
                }
            } else if !self.rest.is_empty() {
                return Err(format!(
                    "found '{}', expected: ',' or 'end of string'",
                    self.rest
                ));
            }
        }
        Ok(all)
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        if self.eat("!") {
            return Ok(Requirement {
                key: self.key()?,
                test: Test::Absent,
            });
        }
        let key = self.key()?;
        let test = if self.eat("!=") {
            Test::NotIn(vec![self.value()?])
        } else if self.eat("==") || self.eat("=") {
            Test::In(vec![self.value()?])
        } else if self.eat(">") {
            Test::Above(self.number()?)
        } else if self.eat("<") {
            Test::Below(self.number()?)
        } else {
            match self.word() {
                "" => Test::Exists,
                "in" => Test::In(self.set()?),
                "notin" => Test::NotIn(self.set()?),
                other => {
                    return Err(format!(
                        "found '{other}', expected: in, notin, =, ==, !=, gt, lt"
                    ));
                }
            }
        };
        Ok(Requirement { key, test })
    }

    fn key(&mut self) -> Result<String, String> {
        let key = self.word();
        match validate::label_key(key) {
            None => Ok(key.into()),
            Some(why) => Err(format!("key: Invalid value: {key:?}: {why}")),
        }
    }

    fn value(&mut self) -> Result<String, String> {
        let value = self.word();
        match validate::label_value(value) {
            None => Ok(value.into()),
            Some(why) => Err(format!("values[0]: Invalid value: {value:?}: {why}")),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        self.value()?
            .parse()
            .map_err(|_| "for 'Gt', 'Lt' operators, the value must be an integer".to_owned())
    }

    fn set(&mut self) -> Result<Vec<String>, String> {
        if !self.eat("(") {
            return Err(format!("found '{}' expected: '('", self.rest));
        }
        let mut values = vec![self.value()?];
        while self.eat(",") {
            values.push(self.value()?);
        }
        if self.eat(")") {
            Ok(values)
        } else {
            Err(format!("found '{}', expected: ',' or ')'", self.rest))
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest.trim_start();
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| c.is_whitespace() || "=!<>(),".contains(c))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest.trim_start();
        word
    }
}
