//! Answers git's question for a user and a password, for one host only.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use super::remote::origin;

/// The variable that makes the guest answer instead of run; it names a file, which is no secret itself.
pub const VARIABLE: &str = "WSMAN_ASKPASS";

/// What may be answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answers {
    /// Scheme, host and port that may learn it.
    pub origin: String,
    pub user: String,
    /// File with the password.
    pub password: PathBuf,
}

/// Answers one question of git; none for another host: redirects, submodules and LFS servers learn nothing.
pub fn answer(file: &Path, question: &str) -> io::Result<Option<String>> {
    let answers: Answers = serde_json::from_slice(&fs::read(file)?)?;
    if asked_origin(question).as_deref() != Some(&answers.origin) {
        return Ok(None);
    }
    if question.starts_with("Username") {
        return Ok(Some(answers.user));
    }
    let password = fs::read_to_string(&answers.password)?;
    Ok(Some(password.trim_end_matches(['\r', '\n']).to_owned()))
}

/// The host in a question such as `Password for 'https://user@host': `.
fn asked_origin(question: &str) -> Option<String> {
    let quote = question.find(['\'', '"'])?;
    let url = question[quote + 1..].split(['\'', '"']).next()?;
    origin(&Url::parse(url).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_host_of_the_remote_learns_the_password() {
        let dir = tempfile::tempdir().unwrap();
        let password = dir.path().join("password");
        fs::write(&password, "marker\n").unwrap();
        let file = dir.path().join("answers");
        let answers = Answers {
            origin: "https://host:443".into(),
            user: "u".into(),
            password,
        };
        fs::write(&file, serde_json::to_vec(&answers).unwrap()).unwrap();
        let ask = |question| answer(&file, question).unwrap();
        assert_eq!(ask("Username for 'https://host': ").as_deref(), Some("u"));
        assert_eq!(
            ask("Password for 'https://u@host': ").as_deref(),
            Some("marker")
        );
        assert_eq!(
            ask("Password for \"https://u@host/x\": ").as_deref(),
            Some("marker")
        );
        for other in [
            "Password for 'http://u@host': ",
            "Password for 'https://u@host:8443': ",
            "Password for 'https://host@other': ",
            "Password for 'https://other/https://host': ",
            "Enter passphrase for key: ",
        ] {
            assert_eq!(ask(other), None, "{other}");
        }
    }
}
