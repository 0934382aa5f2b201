//! Asking the saver for a backup: files in a directory that both see.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use wsman_store::manifest::{Kind, is_request_id};

const POLL: Duration = Duration::from_millis(100);

/// What is asked for. The same id gives the same answer.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Request {
    pub id: String,
    pub kind: Kind,
    /// Nobody waits for the answer: what is saved is found by the id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub early: bool,
}

/// How it ended.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
pub struct Answer {
    pub id: String,
    pub ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl Answer {
    pub fn done(id: String, name: String) -> Self {
        Self {
            id,
            ok: true,
            name: Some(name),
            message: None,
        }
    }

    pub fn failed(id: String, message: String) -> Self {
        Self {
            id,
            ok: false,
            name: None,
            message: Some(message),
        }
    }
}

/// Writes the request unless it is there or answered, and waits for its answer; without `wait`, the answer may be none yet.
pub async fn ask(state: &Path, request: &Request, wait: bool) -> io::Result<Option<Answer>> {
    if !is_request_id(&request.id) {
        let text = format!(
            "the id {:?} is none: letters, digits, `-`, `_` and `.`",
            request.id
        );
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let (asked, answer) = (
        file(state, "requests", &request.id),
        file(state, "results", &request.id),
    );
    // The time of the file is that of the first request.
    if !answer.exists() && !asked.exists() {
        write(&asked, request)?;
    }
    loop {
        match fs::read(&answer) {
            Ok(text) => return Ok(Some(serde_json::from_slice(&text)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        if !wait {
            return Ok(None);
        }
        tokio::time::sleep(POLL).await;
    }
}

/// When it was asked for the first time.
pub fn asked_at(state: &Path, id: &str) -> Option<jiff::Timestamp> {
    let written = fs::metadata(file(state, "requests", id)).ok()?.modified();
    jiff::Timestamp::try_from(written.ok()?).ok()
}

/// Requests without an answer, in the order of their ids. Files that are none are passed over.
pub fn pending(state: &Path) -> io::Result<Vec<Request>> {
    let entries = match fs::read_dir(state.join("requests")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut requests = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(id) = name.to_str().and_then(|name| name.strip_suffix(".json")) else {
            continue;
        };
        if !is_request_id(id) || file(state, "results", id).exists() {
            continue;
        }
        let text = fs::read(file(state, "requests", id))?;
        match serde_json::from_slice::<Request>(&text) {
            Ok(request) if request.id == id => requests.push(request),
            _ => {
                let text = "the request is not understood".to_owned();
                answer(state, &Answer::failed(id.to_owned(), text))?;
            }
        }
    }
    requests.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(requests)
}

/// Writes an answer, whole or not at all.
pub fn answer(state: &Path, answer: &Answer) -> io::Result<()> {
    write(&file(state, "results", &answer.id), answer)
}

fn file(state: &Path, dir: &str, id: &str) -> PathBuf {
    state.join(dir).join(format!("{id}.json"))
}

fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let new = path.with_extension(format!("new-{}", std::process::id()));
    fs::write(&new, serde_json::to_vec(value)?)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_same_id_gives_the_same_answer() {
        let state = tempfile::tempdir().unwrap();
        let request = Request {
            id: "a-1".into(),
            kind: Kind::Snapshot,
            early: false,
        };
        assert_eq!(ask(state.path(), &request, false).await.unwrap(), None);
        assert_eq!(
            pending(state.path()).unwrap(),
            std::slice::from_ref(&request)
        );
        let done = Answer::done("a-1".into(), "name".into());
        answer(state.path(), &done).unwrap();
        assert!(pending(state.path()).unwrap().is_empty());
        assert_eq!(ask(state.path(), &request, true).await.unwrap(), Some(done));
    }

    #[tokio::test]
    async fn ids_are_no_paths() {
        let state = tempfile::tempdir().unwrap();
        for id in ["", "../x", "a/b", ".hidden"] {
            let request = Request {
                id: id.into(),
                kind: Kind::Backup,
                early: false,
            };
            assert!(ask(state.path(), &request, false).await.is_err(), "{id}");
        }
    }

    #[test]
    fn a_request_that_is_none_is_answered() {
        let state = tempfile::tempdir().unwrap();
        fs::create_dir(state.path().join("requests")).unwrap();
        fs::write(state.path().join("requests/x.json"), "{").unwrap();
        assert!(pending(state.path()).unwrap().is_empty());
        let text = fs::read_to_string(state.path().join("results/x.json")).unwrap();
        assert!(text.contains("not understood"), "{text}");
    }
}
