//! A pod without Kubernetes: a root, a state directory, a plan and its secrets.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};

/// The directories of one workspace.
pub(crate) struct Pod {
    dir: tempfile::TempDir,
    plan: Value,
}

impl Pod {
    /// With `initializer`, and nothing to save.
    pub(crate) fn new(initializer: Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["root", "state", "plan"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        let plan = json!({
            "version": 1, "instance": "i", "owner": "owner", "workspace": "workspace",
            "initializer": initializer,
            "git": { "allow_file_remotes": false },
            "download": { "allow_hosts": ["127.0.0.1"] },
        });
        Self { dir, plan }
    }

    /// Sets a member of the plan.
    pub(crate) fn set(mut self, key: &str, value: Value) -> Self {
        self.plan[key] = value;
        self
    }

    /// Adds a secret beside the plan.
    pub(crate) fn secret(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.path().join("plan").join(name), text).unwrap();
        self
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Everything of the pod.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes the plan and returns its path.
    pub(crate) fn plan_file(&self) -> PathBuf {
        let plan = self.dir.path().join("plan/plan.json");
        fs::write(&plan, self.plan.to_string()).unwrap();
        plan
    }

    pub(crate) fn command(&self, verb: &str) -> Command {
        let plan = self.plan_file();
        let mut command = Command::new(env!("CARGO_BIN_EXE_wsman-guest"));
        command
            .args(["content", verb, "--plan"])
            .arg(&plan)
            .arg("--root")
            .arg(self.root())
            .arg("--state")
            .arg(self.state())
            .arg("--termination-log")
            .arg(self.dir.path().join("termination"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs `content init` and returns its termination message.
    pub(crate) fn init(&self) -> Value {
        self.outcome(&self.command("init").output().unwrap())
    }

    /// Runs it and expects success.
    pub(crate) fn init_ok(&self) -> Value {
        let outcome = self.init();
        assert_eq!(outcome["ok"], true, "{outcome}");
        outcome
    }

    /// Runs it and returns why it failed; nothing may be left in the root then.
    pub(crate) fn init_fails(&self) -> String {
        let outcome = self.init();
        assert_eq!(outcome["ok"], false, "{outcome}");
        assert_eq!(
            fs::read_dir(self.root()).unwrap().count(),
            0,
            "something is left"
        );
        outcome["message"].as_str().unwrap().to_owned()
    }

    /// The termination message that a run left.
    pub(crate) fn outcome(&self, output: &Output) -> Value {
        let path = self.dir.path().join("termination");
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|_| panic!("no message: {}", String::from_utf8_lossy(&output.stderr)));
        fs::remove_file(path).unwrap();
        let outcome: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(outcome["ok"], output.status.success(), "{text}");
        outcome
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
    }
}

/// Reports that a test cannot run without `what`, or fails it if WSMAN_TEST_REQUIRE names it.
pub(crate) fn lacks(test: &str, name: &str, what: &str) -> bool {
    let required = std::env::var("WSMAN_TEST_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|required| required.trim() == name),
        "{test} needs {what}"
    );
    eprintln!("skipped {test}: no {what}");
    true
}

/// Asks a process to end.
pub(crate) fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_child(child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

/// Runs git for the set-up of a test.
pub(crate) fn git(dir: &Path, args: &[&str]) -> String {
    let output = Command::new("git")
        .args([
            "-c",
            "user.name=u",
            "-c",
            "user.email=u@x",
            "-c",
            "init.defaultBranch=main",
        ])
        .args(["-c", "protocol.file.allow=always", "-C"])
        .arg(dir)
        .args(args)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A repository `<dir>/<name>` with two commits on main and one on `feature`; returns the three hashes.
pub(crate) fn repository(dir: &Path, name: &str) -> [String; 3] {
    let path = dir.join(name);
    fs::create_dir_all(&path).unwrap();
    git(&path, &["init", "-q"]);
    let mut commits = Vec::new();
    for text in ["one", "two"] {
        fs::write(path.join("file"), text).unwrap();
        git(&path, &["add", "."]);
        git(&path, &["commit", "-qm", text]);
        commits.push(git(&path, &["rev-parse", "HEAD"]));
    }
    git(&path, &["checkout", "-qb", "feature"]);
    fs::write(path.join("file"), "feature").unwrap();
    git(&path, &["commit", "-qam", "feature"]);
    commits.push(git(&path, &["rev-parse", "HEAD"]));
    git(&path, &["checkout", "-q", "main"]);
    commits.try_into().unwrap()
}

/// Files below `dir` that contain `marker`.
pub(crate) fn files_with(dir: &Path, marker: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let metadata = fs::symlink_metadata(&path).unwrap();
        if metadata.is_dir() {
            found.extend(files_with(&path, marker));
        } else if metadata.is_file() {
            let content = fs::read(&path).unwrap();
            if content
                .windows(marker.len())
                .any(|part| part == marker.as_bytes())
            {
                found.push(path);
            }
        }
    }
    found
}
