//! Finds the sentence for people in the termination log of a container (docs/protocol.md#failures).

use serde_json::Value;

/// Returns the `message` of the last log line that has one, followed by its `error` after a colon; without such a line,
/// the whole text.
///
/// Only lines that end in a newline count, and what one line lacks is kept from later ones: the log may be cut
/// anywhere.
pub(super) fn message(log: &str) -> String {
    let Some((lines, _unfinished)) = log.rsplit_once('\n') else {
        return log.to_owned();
    };
    let mut found = Line::default();
    for line in lines.rsplit('\n') {
        if found.read(line) && !found.message.is_empty() {
            return match found.error.as_str() {
                "" => found.message,
                error => format!("{}: {error}", found.message),
            };
        }
    }
    log.to_owned()
}

#[derive(Default)]
struct Line {
    message: String,
    error: String,
}

impl Line {
    /// Takes over the members of a JSON line; false if the line has another shape.
    fn read(&mut self, line: &str) -> bool {
        let Ok(Value::Object(members)) = serde_json::from_str(line) else {
            return false;
        };
        let mut well_formed = true;
        for (key, slot) in [("message", &mut self.message), ("error", &mut self.error)] {
            match members.get(key) {
                Some(Value::String(text)) => slot.clone_from(text),
                None | Some(Value::Null) => {}
                Some(_) => well_formed = false,
            }
        }
        well_formed
    }
}

#[cfg(test)]
mod tests {
    use super::message;
    use proptest::prelude::*;

    #[test]
    fn takes_the_last_line_with_a_message() {
        for (log, sentence) in [
            ("plain text", "plain text"),
            (
                "{\"message\":\"no newline\"}",
                "{\"message\":\"no newline\"}",
            ),
            ("{\"message\":\"a\"}\n", "a"),
            ("{\"message\":\"a\",\"error\":\"b\"}\n", "a: b"),
            ("{\"message\":\"first\"}\n{\"message\":\"last\"}\n", "last"),
            ("{\"message\":\"kept\"}\n{\"message\":\"cut", "kept"),
            (
                "{\"message\":\"m\"}\n{\"error\":\"from below\"}\n",
                "m: from below",
            ),
            ("{\"message\":\"m\"}\nnoise\n{\"message\":7}\n[]\n", "m"),
            (
                "cut off\"}\n{\"message\":\"\"}\n",
                "cut off\"}\n{\"message\":\"\"}\n",
            ),
            ("\n\n", "\n\n"),
        ] {
            assert_eq!(message(log), sentence, "{log}");
        }
    }

    proptest! {
        #[test]
        fn finds_the_last_line_with_a_message(
            before in "[a-z\n]{0,10}",
            text in "[a-z\"{}é]{1,5}",
            error in proptest::option::of("[a-z]{1,5}"),
            after in proptest::collection::vec("[a-z{}\\[\\]\":,0-9]{0,8}", 0..4),
            cut in "[a-z{\":]{0,8}",
        ) {
            let mut line = serde_json::json!({ "message": text });
            let mut expected = text;
            if let Some(error) = error {
                line["error"] = error.as_str().into();
                expected = format!("{expected}: {error}");
            }
            // Lines without their own message are ignored.
            let noise = after.iter().all(|line| !line.contains('{'));
            let after: String = after.iter().map(|line| format!("{line}\n")).collect();
            let log = format!("{before}\n{line}\n{after}{cut}");
            if noise {
                prop_assert_eq!(message(&log), expected);
            }
        }

        #[test]
        fn reads_any_text(log in "(\\{\"message\":\"[a-z]{0,3}\"|[\\[{}\":,\\n]|error|\\PC){0,30}") {
            let sentence = message(&log);
            prop_assert!(!sentence.is_empty() || log.is_empty());
        }
    }
}
