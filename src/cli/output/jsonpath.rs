//! Templates as in `kubectl -o jsonpath=...`: text, `{.path}`, `{"literal"}` and `{range .path}...{end}`.

use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonPath(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Path(Vec<Step>),
    Range(Vec<Step>, Vec<Part>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    /// A negative index counts from the end.
    Index(i64),
    All,
    /// Elements whose path has this value, or another one.
    Where(Vec<Step>, bool, Value),
}

impl JsonPath {
    /// Parses a template; without braces it is one path.
    pub fn parse(template: &str) -> Result<Self, String> {
        if template.is_empty() {
            return Err("the template is empty; want for example {.status.phase}".to_owned());
        }
        if !template.contains('{') && template.starts_with(['.', '$', '[']) {
            return Ok(Self(vec![Part::Path(path(template)?)]));
        }
        let mut rest = template;
        let parts = parts(&mut rest, false)?;
        Ok(Self(parts))
    }

    /// Applies the template. Missing values are omitted.
    pub fn fill(&self, root: &Value) -> String {
        let mut text = String::new();
        fill(&self.0, root, &mut text);
        text
    }
}

/// Parses up to the end, or up to `{end}` within a range.
fn parts(rest: &mut &str, in_range: bool) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let Some((text, after)) = rest.split_once('{') else {
            parts.push(Part::Text(std::mem::take(rest).to_owned()));
            break;
        };
        if !text.is_empty() {
            parts.push(Part::Text(text.to_owned()));
        }
        let close = closing(after, '}').ok_or("a { has no }")?;
        let inner = after[..close].trim();
        *rest = &after[close + 1..];
        match inner {
            "end" if in_range => return Ok(parts),
            "end" => return Err("{end} without {range}".to_owned()),
            _ if inner.starts_with(['"', '\'']) => parts.push(Part::Text(literal(inner)?)),
            _ => match inner.strip_prefix("range ") {
                Some(over) => {
                    let over = path(over.trim())?;
                    parts.push(Part::Range(over, self::parts(rest, true)?));
                }
                None => parts.push(Part::Path(path(inner)?)),
            },
        }
    }
    match in_range {
        true => Err("{range} without {end}".to_owned()),
        false => Ok(parts),
    }
}

/// The position of `end`, outside of quotes.
fn closing(text: &str, end: char) -> Option<usize> {
    let (mut quote, mut escaped) = (None, false);
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open && !escaped => quote = None,
            None if c == end => return Some(at),
            None if c == '"' || c == '\'' => quote = Some(c),
            _ => {}
        }
        escaped = c == '\\' && !escaped;
    }
    None
}

fn literal(quoted: &str) -> Result<String, String> {
    let broken = || format!("{quoted} is no text in quotes");
    let quote = quoted.chars().next().ok_or_else(broken)?;
    let inner = quoted
        .strip_prefix(quote)
        .and_then(|rest| rest.strip_suffix(quote))
        .ok_or_else(broken)?;
    let mut text = String::new();
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.push(match chars.next().ok_or_else(broken)? {
                'n' => '\n',
                't' => '\t',
                other => other,
            }),
            c => text.push(c),
        }
    }
    Ok(text)
}

fn path(text: &str) -> Result<Vec<Step>, String> {
    let unclear = |rest: &str| format!("{rest:?} in {text:?} is no part of a path");
    let mut rest = text.strip_prefix(['$', '@']).unwrap_or(text);
    let mut steps = Vec::new();
    if rest.is_empty() && !text.is_empty() {
        return Ok(steps);
    }
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let close = closing(inner, ']').ok_or_else(|| unclear(rest))?;
            steps.push(bracket(&inner[..close])?);
            rest = &inner[close + 1..];
        } else if let Some(named) = rest.strip_prefix('.') {
            let (key, after) = key(named);
            match key.as_str() {
                "" if after.is_empty() && steps.is_empty() => {}
                "" => return Err(unclear(rest)),
                "*" => steps.push(Step::All),
                _ => steps.push(Step::Key(key)),
            }
            rest = after;
        } else {
            return Err(unclear(rest));
        }
    }
    match text.is_empty() {
        true => Err("{} is empty".to_owned()),
        false => Ok(steps),
    }
}

/// A name up to the next dot or bracket; `\.` is a dot in the name.
fn key(text: &str) -> (String, &str) {
    let (mut key, mut escaped) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '.' | '[' if !escaped => return (key, &text[at..]),
            c => key.push(c),
        }
        escaped = false;
    }
    (key, "")
}

fn bracket(inner: &str) -> Result<Step, String> {
    let inner = inner.trim();
    let unclear =
        || format!("[{inner}] is neither an index, nor [*], ['key'] or [?(@.path==value)]");
    if inner == "*" {
        return Ok(Step::All);
    }
    if inner.starts_with(['"', '\'']) {
        return literal(inner).map(Step::Key);
    }
    let Some(condition) = inner.strip_prefix("?(").and_then(|c| c.strip_suffix(')')) else {
        return inner.parse().map(Step::Index).map_err(|_| unclear());
    };
    let (left, right, wanted) = match (condition.split_once("=="), condition.split_once("!=")) {
        (Some((left, right)), _) => (left, right, true),
        (None, Some((left, right))) => (left, right, false),
        (None, None) => return Err(unclear()),
    };
    let right = right.trim();
    let value = match right.starts_with(['"', '\'']) {
        true => Value::String(literal(right)?),
        false => serde_json::from_str(right).map_err(|_| unclear())?,
    };
    let left = left.trim();
    match left.starts_with('@') {
        true => Ok(Step::Where(path(left)?, wanted, value)),
        false => Err(unclear()),
    }
}

fn fill(parts: &[Part], here: &Value, text: &mut String) {
    for part in parts {
        match part {
            Part::Text(literal) => text.push_str(literal),
            Part::Path(path) => {
                let found = find(here, path);
                let words: Vec<_> = found.into_iter().map(word).collect();
                text.push_str(&words.join(" "));
            }
            Part::Range(path, parts) => {
                for element in find(here, path) {
                    fill(parts, element, text);
                }
            }
        }
    }
}

fn find<'a>(here: &'a Value, path: &[Step]) -> Vec<&'a Value> {
    let mut found = vec![here];
    for step in path {
        found = found
            .into_iter()
            .flat_map(|value| take(value, step))
            .collect();
    }
    found
}

fn take<'a>(value: &'a Value, step: &Step) -> Vec<&'a Value> {
    match (step, value) {
        (Step::Key(key), Value::Object(object)) => object.get(key).into_iter().collect(),
        (Step::Index(index), Value::Array(array)) => {
            let from_end = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
            let at = match *index < 0 {
                true => array.len().checked_sub(from_end),
                false => Some(from_end),
            };
            at.and_then(|at| array.get(at)).into_iter().collect()
        }
        (Step::All, Value::Array(array)) => array.iter().collect(),
        (Step::All, Value::Object(object)) => object.values().collect(),
        (Step::Where(path, wanted, value), Value::Array(array)) => array
            .iter()
            .filter(|element| find(element, path).contains(&value) == *wanted)
            .collect(),
        _ => Vec::new(),
    }
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_are_filled_in() {
        let value = json!({"kind": "List", "items": [
            {"status": {"id": "a", "phase": "RUNNING", "n": 1, "metadata": {"annotations": {"a.b/c": "x"}}}},
            {"status": {"id": "b", "phase": "STOPPED", "n": 2, "ok": true}},
        ]});
        for (template, expected) in [
            ("{.items[*].status.id}", "a b"),
            (".items[*].status.id", "a b"),
            ("{$.items[0].status.phase}", "RUNNING"),
            ("{.items[-1].status.n}", "2"),
            ("{.items[7].status.n}{.nothing}", ""),
            ("{.items[0]['status'].id} is", "a is"),
            (r"{.items[0].status.metadata.annotations.a\.b/c}", "x"),
            (
                r#"{range .items[*]}{.status.id}{"\t"}{.status.phase}{"\n"}{end}done"#,
                "a\tRUNNING\nb\tSTOPPED\ndone",
            ),
            (r#"{.items[?(@.status.phase=="STOPPED")].status.id}"#, "b"),
            ("{.items[?(@.status.n!=2)].status.id}", "a"),
            ("{.items[?(@.status.ok==true)].status.id}", "b"),
            (
                "{.items[1].status}",
                r#"{"id":"b","n":2,"ok":true,"phase":"STOPPED"}"#,
            ),
            ("{ .kind }", "List"),
            ("{.items.*.status.n}", "1 2"),
            ("no path", "no path"),
        ] {
            let path = JsonPath::parse(template).expect(template);
            assert_eq!(path.fill(&value), expected, "{template}");
        }
        assert_eq!(JsonPath::parse("{.}").unwrap().fill(&json!([1])), "[1]");
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for template in [
            "",
            "{",
            "{}",
            "{items}",
            "{.a[}",
            "{.a[x]}",
            "{.a..b}",
            "{range .a}",
            "{end}",
            "{.a[?(@.b)]}",
            "{.a[?(.b==1)]}",
            "{\"a}",
            "{.a b]}]",
        ] {
            // The last one is a key with a space in it, and a text.
            let parsed = JsonPath::parse(template);
            assert_eq!(
                parsed.is_err(),
                template != "{.a b]}]",
                "{template}: {parsed:?}"
            );
        }
    }
}
