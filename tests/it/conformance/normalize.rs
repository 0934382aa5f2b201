//! Replaces what differs from run to run by placeholders, and keeps what must be equal equal.

use serde_json::{Map, Value};

/// Numbers the uids and resourceVersions of one transcript in order of appearance, so that "the same
/// as before" still shows.
pub(super) struct Normalizer {
    namespace: String,
    uids: Vec<String>,
    revisions: Vec<String>,
}

impl Normalizer {
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            uids: Vec::new(),
            revisions: Vec::new(),
        }
    }

    pub(super) fn apply(&mut self, value: Value) -> Value {
        match value {
            Value::Object(fields) => self.object(fields),
            Value::Array(items) => items.into_iter().map(|item| self.apply(item)).collect(),
            Value::String(text) => self.text(&text).into(),
            other => other,
        }
    }

    fn object(&mut self, mut fields: Map<String, Value>) -> Value {
        fields.remove("managedFields");
        fields.remove("remainingItemCount");
        if fields.get("type").is_some_and(|kind| kind == "BOOKMARK") {
            // The encoding of the empty object in a bookmark, and its revision, are not guaranteed.
            return serde_json::json!({"type": "BOOKMARK", "annotations": fields["object"]["metadata"]["annotations"]});
        }
        if let Some(Value::Array(causes)) = fields.get_mut("causes") {
            // A real server validates the metadata of an update several times, and lists each violation again.
            let mut seen: Vec<Value> = Vec::new();
            causes.retain(|cause| {
                !seen.contains(cause) && {
                    seen.push(cause.clone());
                    true
                }
            });
        }
        let generated = fields
            .get("generateName")
            .and_then(Value::as_str)
            .map(str::to_owned);
        let of_a_list = !fields.contains_key("uid");
        let entries = fields.into_iter().map(|(name, value)| {
            let value = match (name.as_str(), &value) {
                ("resourceVersion", Value::String(_)) if of_a_list => "<revision>".into(),
                ("resourceVersion", Value::String(text)) => {
                    number(&mut self.revisions, text, "revision").into()
                }
                ("continue", Value::String(_)) => "<token>".into(),
                ("name", Value::String(text)) => match &generated {
                    Some(stem)
                        if text.starts_with(stem.as_str()) && text.len() == stem.len() + 5 =>
                    {
                        format!("{stem}<suffix>").into()
                    }
                    _ => self.apply(value),
                },
                _ => self.apply(value),
            };
            (self.text(&name), value)
        });
        Value::Object(entries.collect::<Vec<_>>().into_iter().collect())
    }

    fn text(&mut self, text: &str) -> String {
        // An age in a table: every object of an entry is new.
        if text
            .strip_suffix('s')
            .is_some_and(|age| age.parse::<u8>().is_ok())
        {
            return "0s".to_owned();
        }
        let mut text = text.replace(&self.namespace, "<namespace>");
        let mut from = 0;
        while let Some((at, length)) = find(&text[from..], is_uid, 36) {
            let uid = text[from + at..from + at + length].to_owned();
            let placeholder = number(&mut self.uids, &uid, "uid");
            text.replace_range(from + at..from + at + length, &placeholder);
            from += at + placeholder.len();
        }
        while let Some((at, length)) = find(&text, is_time, 20) {
            text.replace_range(at..at + length, "<time>");
        }
        while let Some((at, length)) = address(&text) {
            text.replace_range(at..at + length, "<address>");
        }
        text
    }
}

fn number(seen: &mut Vec<String>, text: &str, what: &str) -> String {
    let at = seen
        .iter()
        .position(|other| other == text)
        .unwrap_or_else(|| {
            seen.push(text.into());
            seen.len() - 1
        });
    format!("<{what} {}>", at + 1)
}

fn find(text: &str, is: fn(&[u8]) -> bool, length: usize) -> Option<(usize, usize)> {
    let at = text.as_bytes().windows(length).position(is)?;
    Some((at, length))
}

fn is_uid(bytes: &[u8]) -> bool {
    bytes.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit() && !byte.is_ascii_uppercase(),
    })
}

fn is_time(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .zip(b"2000-00-00T00:00:00Z")
        .all(|(byte, like)| match like {
            b'0' => byte.is_ascii_digit(),
            like => byte == like,
        })
}

/// An address of the service range.
fn address(text: &str) -> Option<(usize, usize)> {
    let at = text.find("10.96.")?;
    let length = text[at..]
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len() - at);
    Some((at, length))
}
