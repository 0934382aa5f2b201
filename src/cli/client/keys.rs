//! Reads public SSH keys from a file in the format of `authorized_keys`.

use std::path::Path;

use crate::cli::exit::Failure;
use crate::cli::input;
use crate::workspaces::ssh_key;

/// Most faulty lines that are listed.
const MOST: usize = 10;

/// The keys, without blank lines and comments. A line that is no public key is never printed: it may be a private key.
pub(super) fn read(path: &Path) -> Result<Vec<String>, Failure> {
    let name = input::name(path);
    let text = input::text(path, input::SMALL)?;
    let lines: Vec<(usize, &str)> = text
        .trim_start_matches('\u{feff}')
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .collect();
    if lines.is_empty() {
        let hint = "--none removes all keys";
        return Err(Failure::usage(format!("{name} holds no keys")).hint(hint));
    }
    let faults: Vec<(usize, &str)> = lines
        .iter()
        .filter_map(|(number, line)| Some((*number, ssh_key::fault(line)?)))
        .collect();
    // In a key of another format every line is wrong, and one sentence explains it.
    if faults.len() == lines.len()
        && text.contains("BEGIN ")
        && let Some(why) = ssh_key::fault(&text)
    {
        return Err(Failure::usage(format!("{name} {why}")));
    }
    if faults.is_empty() {
        return Ok(lines.into_iter().map(|(_, line)| line.to_owned()).collect());
    }
    let mut details: Vec<String> = faults
        .iter()
        .take(MOST)
        .map(|(number, why)| format!("line {number}: {why}"))
        .collect();
    if faults.len() > MOST {
        details.push(format!("and {} more", faults.len() - MOST));
    }
    let count = faults.len();
    let message = match count {
        1 => format!("{name} has a line that is no public key"),
        _ => format!("{name} has {count} lines that are no public keys"),
    };
    Err(Failure::usage(message).details(details))
}
