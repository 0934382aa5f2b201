//! Runs the git binary in surroundings of its own: nothing of the image's or the user's settings reaches it.

pub mod askpass;
pub mod config;
pub mod head;
pub mod reason;
pub mod remote;
pub mod status;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};

/// How often a command is tried whose failure may pass.
const ATTEMPTS: u32 = 4;

/// What git is told beside its arguments.
#[derive(Clone, Debug)]
pub struct Git {
    /// A directory that only git and the guest use.
    home: PathBuf,
    environment: Vec<(&'static str, OsString)>,
    /// Settings that win over those of the repository.
    overrides: Vec<(String, String)>,
}

/// A command that failed.
#[derive(Debug, thiserror::Error)]
pub enum GitError {
    #[error("git cannot be run: {0}")]
    Run(io::Error),
    #[error("{reason}")]
    Failed { reason: String, transient: bool },
}

impl Git {
    /// With `home` for its settings; remotes may use `protocols`.
    pub fn new(home: &Path, protocols: &str) -> Self {
        let mut environment: Vec<(&'static str, OsString)> = vec![
            ("GIT_ALLOW_PROTOCOL", protocols.into()),
            ("GIT_CONFIG_GLOBAL", home.join("config").into()),
            ("GIT_CONFIG_NOSYSTEM", "1".into()),
            ("GIT_LFS_SKIP_SMUDGE", "1".into()),
            ("GIT_TERMINAL_PROMPT", "0".into()),
            ("HOME", home.into()),
            ("LC_ALL", "C".into()),
        ];
        for name in [
            "PATH",
            "HTTPS_PROXY",
            "HTTP_PROXY",
            "NO_PROXY",
            "http_proxy",
            "https_proxy",
            "no_proxy",
            "GIT_SSL_CAINFO",
            "SSL_CERT_DIR",
            "SSL_CERT_FILE",
        ] {
            environment.extend(std::env::var_os(name).map(|value| (name, value)));
        }
        Self {
            home: home.to_owned(),
            environment,
            overrides: Vec::new(),
        }
    }

    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Adds a variable.
    pub fn with(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// Adds settings that win over those of the repository.
    pub fn overriding(mut self, settings: Vec<(String, String)>) -> Self {
        self.overrides.extend(settings);
        self
    }

    /// Runs `git` in `dir` and returns what it printed.
    pub async fn run(&self, dir: &Path, args: &[&str]) -> Result<String, GitError> {
        let mut command = Command::new("git");
        command
            .args(args)
            .current_dir(dir)
            .env_clear()
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env("GIT_CONFIG_COUNT", self.overrides.len().to_string())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        for (index, (key, value)) in self.overrides.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), key);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        // What git starts goes with it: a helper would wait for its server.
        command
            .process_group(0)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let child = command.spawn().map_err(GitError::Run)?;
        let group = Group::of(&child);
        let output = child.wait_with_output().await.map_err(GitError::Run)?;
        group.ended();
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        let stderr = String::from_utf8_lossy(&output.stderr);
        let mut reason = reason::of(&stderr);
        if reason.is_empty() {
            reason = format!(
                "git {} ended with {}",
                args.first().unwrap_or(&""),
                output.status
            );
        }
        Err(GitError::Failed {
            reason,
            transient: reason::is_transient(&stderr),
        })
    }

    /// Runs it again, with backoff, while the failure may pass.
    pub async fn run_remote(&self, dir: &Path, args: &[&str]) -> Result<String, GitError> {
        let mut attempt = 1;
        loop {
            match self.run(dir, args).await {
                Err(GitError::Failed {
                    transient: true, ..
                }) if attempt < ATTEMPTS => {
                    tokio::time::sleep(Duration::from_millis(250) * 2_u32.pow(attempt)).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }
}

/// The processes of one command; they are killed if it is given up.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }

    fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}
