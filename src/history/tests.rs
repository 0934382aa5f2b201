//! Recorded good and bad histories, and random ones.

use super::{Observation, check, read};
use crate::golden;

mod random;

/// The outcome is the one guarantee that a history breaks, or OK.
#[test]
fn recorded_histories() {
    golden::check_whole("history", |input| {
        let lines = input.as_array().expect("a history is a list").iter();
        let history: Vec<Observation> = lines
            .map(|line| read(&line.to_string()).expect("an observation"))
            .collect();
        let violations = check(&history);
        let outcome = match &*violations {
            [] => "OK".to_owned(),
            [one] => one.kind.to_string(),
            _ => "SEVERAL".to_owned(),
        };
        (outcome, serde_json::to_value(violations).expect("JSON"))
    });
}

#[test]
fn a_history_is_read_as_it_is_written() {
    let folder = golden::root().join("testdata/history");
    for file in std::fs::read_dir(folder).expect("the folder exists") {
        let path = file.expect("it can be read").path();
        if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let history: Vec<Observation> = serde_json::from_str(&text).expect("a history");
            for observation in history {
                let line = serde_json::to_string(&observation).expect("JSON");
                assert_eq!(read(&line), Ok(observation), "{}", path.display());
            }
        }
    }
}
