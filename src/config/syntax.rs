//! Explains why a text is no JSON, and what people take for JSON.

/// Explains an error of the parser.
pub(super) fn explain(text: &str, error: &serde_json::Error) -> String {
    let first = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#') && !line.starts_with("---"));
    let Some(first) = first else {
        return "is empty; it must hold a JSON object".to_owned();
    };
    if !first.starts_with(['{', '[', '"', '/', '\''])
        && (first.contains(':') || first.starts_with("- "))
    {
        return "looks like YAML; only JSON is read".to_owned();
    }
    let (line, column) = (error.line(), error.column());
    let why = hint(text, error).unwrap_or_else(|| {
        let why = error.to_string();
        why.split(" at line ").next().unwrap_or_default().to_owned()
    });
    format!("cannot be read as JSON, line {line}, column {column}: {why}")
}

fn hint(text: &str, error: &serde_json::Error) -> Option<String> {
    let why = error.to_string();
    let line = text.lines().nth(error.line().checked_sub(1)?);
    let at = line
        .unwrap_or_default()
        .get(error.column().saturating_sub(1)..);
    let at = at.unwrap_or_default().trim_start();
    let hint = if at.starts_with("//") || at.starts_with("/*") || at.starts_with('#') {
        "comments are not read; remove it"
    } else if at.starts_with('\'') {
        "strings are written in double quotes"
    } else if why.contains("trailing comma") {
        "there is a comma before a closing bracket; remove it"
    } else if why.starts_with("key must be a string") {
        "the name of a key is written in double quotes"
    } else if why.starts_with("expected `,`") {
        "a comma or a closing bracket is missing before this"
    } else if error.is_eof() {
        "it ends too early; a closing bracket or quote is missing"
    } else if why.starts_with("trailing characters") {
        "there is something after the end of the object"
    } else if why.starts_with("recursion limit") {
        "it is nested more than 127 levels deep"
    } else if why.starts_with("number out of range") {
        "the number is too large"
    } else if why.starts_with("control character") {
        "a string holds a line break or a tab; write \\n or \\t"
    } else if why.starts_with("invalid escape") {
        "a string holds an unknown escape; a backslash is written as two"
    } else {
        return None;
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_take_for_json_is_named() {
        let deep = "[".repeat(200);
        for (text, why) in [
            ("", "is empty"),
            (" \n# nothing\n", "is empty"),
            ("manager:\n  namespace: default\n", "YAML"),
            ("---\n# x\nmanager: {}\n", "YAML"),
            ("- a\n- b\n", "YAML"),
            (
                "{\n  // here\n  \"a\": 1\n}",
                "line 2, column 3: comments are not read",
            ),
            (
                "{\"a\": 1, // here\n \"b\": 2}",
                "column 10: comments are not read",
            ),
            ("{\"a\": 1 /* here */}", "comments are not read"),
            ("/* here */ {}", "line 1, column 1: comments are not read"),
            ("{\n  # here\n}", "comments are not read"),
            ("{}\n// end", "line 2, column 1: comments are not read"),
            ("{\"a\": 1,}", "comma before a closing bracket"),
            ("{\"a\": [1,]}", "comma before a closing bracket"),
            ("{'a': 1}", "double quotes"),
            ("{\"a\": 'b'}", "strings are written in double quotes"),
            ("{a: 1}", "the name of a key is written in double quotes"),
            (
                "{\"a\": 1 \"b\": 2}",
                "a comma or a closing bracket is missing",
            ),
            ("{\"a\": [1", "ends too early"),
            ("{\"a\": \"b", "ends too early"),
            ("{} {}", "after the end of the object"),
            ("{\"a\": 1e999}", "the number is too large"),
            ("{\"a\": \"b\nc\"}", "line break"),
            ("{\"a\": \"C:\\dir\"}", "a backslash is written as two"),
            (&deep, "nested more than 127 levels deep"),
            ("{\"a\": True}", "expected value"),
        ] {
            let error = crate::json::read(text).expect_err(text);
            let said = explain(text, &error);
            assert!(said.contains(why), "{text}: {said}");
        }
    }
}
