//! Finds out which commit this is.

use std::path::Path;
use std::process::Command;

fn main() {
    // Without a line that names a file, every change of one would count.
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-env=WSMAN_COMMIT={}", commit());
}

/// The commit that is built: as WSMAN_COMMIT says, or git, or "unknown" where there is neither, as in an archive.
///
/// Only a release build is made again for a commit that changes nothing else. A debug build keeps the commit of the
/// first one, and says that it is a debug build.
fn commit() -> String {
    println!("cargo:rerun-if-env-changed=WSMAN_COMMIT");
    if let Some(commit) = std::env::var("WSMAN_COMMIT").ok().filter(|c| !c.is_empty()) {
        return commit.chars().filter(|c| !c.is_control()).collect();
    }
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    // Sources that lie in somebody else's repository are not of its commit.
    let is_ours = git(&["rev-parse", "--show-toplevel"]).is_some_and(|top| {
        let (top, here) = (
            Path::new(&top).canonicalize(),
            Path::new(&here).canonicalize(),
        );
        matches!((top, here), (Ok(top), Ok(here)) if top == here)
    });
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| is_ours) else {
        return "unknown".to_owned();
    };
    if !release {
        return format!("{commit}, debug build");
    }
    let mut watched = vec!["HEAD".to_owned(), "packed-refs".to_owned()];
    watched.extend(git(&["symbolic-ref", "-q", "HEAD"]));
    for name in watched {
        let path = git(&["rev-parse", "--git-path", &name]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    commit
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
