//! Reads the commit of a working copy from its files, where git would be a process.

use std::fs;
use std::path::Path;

/// The commit of a working copy; none where there is none, or where only git finds it.
pub fn read(dir: &Path) -> Option<String> {
    let git = dir.join(".git");
    let head = text(&git.join("HEAD"))?;
    let Some(name) = head.trim_end().strip_prefix("ref: ") else {
        return hash(&head);
    };
    // Only names of branches, which lead nowhere else.
    if !name.starts_with("refs/heads/") || name.split('/').any(|part| part == "..") {
        return None;
    }
    if let Some(loose) = text(&git.join(name)) {
        return hash(&loose);
    }
    let packed = text(&git.join("packed-refs"))?;
    let mut refs = packed.lines().filter_map(|line| line.split_once(' '));
    let (commit, _) = refs.find(|(_, packed)| *packed == name)?;
    hash(commit)
}

/// Only of a file: a pipe that a backup brought along would never end.
fn text(path: &Path) -> Option<String> {
    let is_file = fs::symlink_metadata(path).is_ok_and(|found| found.is_file());
    is_file.then(|| fs::read_to_string(path).ok()).flatten()
}

fn hash(text: &str) -> Option<String> {
    let text = text.trim_end();
    let is_hash = matches!(text.len(), 40 | 64) && text.bytes().all(|b| b.is_ascii_hexdigit());
    is_hash.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commit_is_found_where_git_keeps_it() {
        let dir = tempfile::tempdir().unwrap();
        let git = dir.path().join(".git");
        fs::create_dir_all(git.join("refs/heads")).unwrap();
        let [one, two] = ["1", "2"].map(|digit| digit.repeat(40));
        let write = |name: &str, text: String| fs::write(git.join(name), text).unwrap();
        assert_eq!(read(dir.path()), None);
        write("HEAD", format!("{one}\n"));
        assert_eq!(read(dir.path()).as_ref(), Some(&one));
        write("HEAD", "ref: refs/heads/main\n".into());
        assert_eq!(read(dir.path()), None, "there is no commit yet");
        write(
            "packed-refs",
            format!("# pack-refs with: peeled\n{two} refs/heads/main\n^{one}\n"),
        );
        assert_eq!(read(dir.path()).as_ref(), Some(&two));
        write("refs/heads/main", format!("{one}\n"));
        assert_eq!(read(dir.path()).as_ref(), Some(&one));
        write("HEAD", "ref: refs/heads/../../config\n".into());
        assert_eq!(read(dir.path()), None);
    }
}
