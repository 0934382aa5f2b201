//! The state of a working copy that its user controls, without running what its settings name.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Git, GitError};
use wsman_store::manifest::GitStatus;

/// How many entries of a list are kept.
const LISTED: usize = 100;

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error(transparent)]
    Git(#[from] GitError),
    #[error("cannot read the repository: {0}")]
    Io(#[from] io::Error),
}

/// The status of the working copy `dir`; none if it is none.
///
/// Git reads it through a shadow: its objects, refs and index, with settings of the guest. Filters, monitors and
/// hooks that the repository names are not there.
pub async fn status(git: &Git, dir: &Path) -> Result<Option<GitStatus>, StatusError> {
    let real = dir.join(".git");
    if !fs::symlink_metadata(&real).is_ok_and(|metadata| metadata.is_dir()) {
        return Ok(None);
    }
    let shadow = git.home().join("shadow");
    let _ = fs::remove_dir_all(&shadow);
    make_shadow(&real, &shadow)?;
    let dirs = [
        format!("--git-dir={}", shadow.display()),
        format!("--work-tree={}", dir.display()),
    ];
    let run = async |args: &[&str]| {
        let mut all: Vec<&str> = dirs.iter().map(String::as_str).collect();
        all.extend_from_slice(args);
        git.run(dir, &all).await
    };
    let mut status = GitStatus::default();
    let porcelain = run(&[
        "--no-optional-locks",
        "status",
        "--porcelain=v2",
        "--branch",
        "-z",
        "--untracked-files=normal",
        "--ignore-submodules=all",
        "--no-renames",
    ])
    .await?;
    fill(&mut status, &porcelain);
    if !status.latest_commit.is_empty() {
        let unpushed = run(&["log", "--format=%h: %s", "HEAD", "--not", "--remotes", "--"]).await?;
        for line in unpushed.lines() {
            status.total_unpushed_commits += 1;
            list(&mut status.unpushed_commits, line);
        }
    }
    let _ = fs::remove_dir_all(&shadow);
    Ok(Some(status))
}

fn make_shadow(real: &Path, shadow: &Path) -> io::Result<()> {
    fs::create_dir_all(shadow)?;
    for entry in fs::read_dir(real)? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        let linked = matches!(&*text, "objects" | "refs" | "packed-refs" | "shallow")
            || text.starts_with("sharedindex.");
        if linked {
            symlink(real.join(&name), shadow.join(&name))?;
        }
    }
    for name in ["HEAD", "index"] {
        let from = real.join(name);
        if !fs::symlink_metadata(&from).is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        fs::copy(&from, shadow.join(name))?;
        // Git trusts entries that are older than the index.
        let time = fs::metadata(&from)?.modified()?;
        fs::File::options()
            .write(true)
            .open(shadow.join(name))?
            .set_modified(time)?;
    }
    let exclude = real.join("info/exclude");
    if fs::symlink_metadata(&exclude).is_ok_and(|metadata| metadata.is_file()) {
        fs::create_dir(shadow.join("info"))?;
        fs::copy(&exclude, shadow.join("info/exclude"))?;
    }
    fs::write(
        shadow.join("config"),
        "[core]\n\trepositoryformatversion = 0\n\tbare = false\n",
    )
}

/// Reads `git status --porcelain=v2 --branch -z`.
fn fill(status: &mut GitStatus, porcelain: &str) {
    for record in porcelain.split('\0') {
        let (kind, rest) = record.split_once(' ').unwrap_or((record, ""));
        match kind {
            "#" => match rest.split_once(' ') {
                Some(("branch.oid", oid)) if oid != "(initial)" => {
                    oid.clone_into(&mut status.latest_commit);
                }
                Some(("branch.head", head)) => head.clone_into(&mut status.branch),
                _ => {}
            },
            "1" | "u" => {
                let fields = if kind == "1" { 8 } else { 10 };
                if let Some(path) = rest.splitn(fields, ' ').nth(fields - 1) {
                    status.total_uncommited_files += 1;
                    list(&mut status.uncommited_files, path);
                }
            }
            "?" => {
                status.total_untracked_files += 1;
                list(&mut status.untracked_files, rest);
            }
            _ => {}
        }
    }
}

fn list(list: &mut Vec<String>, entry: &str) {
    if list.len() < LISTED {
        list.push(entry.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Path, args: &[&str]) {
        let status = std::process::Command::new("git")
            .args(["-c", "user.name=u", "-c", "user.email=u@x", "-C"])
            .arg(dir)
            .args(args)
            .status()
            .unwrap();
        assert!(status.success(), "{args:?}");
    }

    #[tokio::test]
    async fn a_working_copy_is_described_and_its_settings_run_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let work = dir.path().join("work");
        fs::create_dir(&work).unwrap();
        git(&work, &["init", "-q", "-b", "main"]);
        fs::write(work.join("a"), "1").unwrap();
        fs::write(work.join(".gitattributes"), "* filter=evil\n").unwrap();
        git(&work, &["add", "."]);
        git(&work, &["commit", "-qm", "one"]);
        let ran = dir.path().join("ran");
        let evil = format!("sh -c 'touch {}; cat'", ran.display());
        git(&work, &["config", "core.fsmonitor", &evil]);
        git(&work, &["config", "filter.evil.clean", &evil]);
        fs::write(work.join("a"), "2").unwrap();
        fs::write(work.join("new file"), "3").unwrap();
        let home = tempfile::tempdir().unwrap();
        fs::write(home.path().join("config"), "[safe]\n\tdirectory = *\n").unwrap();
        let guest = Git::new(home.path(), "https");
        let status = status(&guest, &work).await.unwrap().unwrap();
        assert_eq!(status.branch, "main");
        assert_eq!(status.latest_commit.len(), 40);
        assert_eq!(status.uncommited_files, ["a"]);
        assert_eq!(status.untracked_files, ["new file"]);
        assert_eq!(status.total_unpushed_commits, 1);
        assert!(status.unpushed_commits[0].ends_with(": one"));
        assert!(!ran.exists(), "a setting of the repository ran a program");
    }

    #[tokio::test]
    async fn what_is_no_working_copy_has_no_status() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Git::new(dir.path(), "https");
        assert!(status(&guest, dir.path()).await.unwrap().is_none());
    }
}
