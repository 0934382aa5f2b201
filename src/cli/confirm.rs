//! Asks before a command ends a workspace, on a terminal; elsewhere it needs a flag.

use std::io::{self, BufRead, IsTerminal, Read};

use super::exit::{Exit, Failure, note};

/// Asks a question with the answers y and n. Without a terminal it needs `flag`.
pub(super) fn ask(danger: &str, flag: &str) -> Result<(), Failure> {
    if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
        let hint = format!("pass {flag} to do it");
        return Err(Failure::usage(danger).hint(hint));
    }
    note(&format!("{danger}. Go on? [y/N]"));
    let mut answer = String::new();
    let mut line = io::stdin().lock().take(64);
    line.read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(
            Exit::Failed,
            "not confirmed; nothing was changed",
        )),
    }
}
