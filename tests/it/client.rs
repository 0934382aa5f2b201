//! `wsman client` as its users run it: the compiled binary against a scripted server on loopback.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use server::{Server, TIMEOUT};
use wsman::proto::wsman::*;

mod calls;
mod failures;
mod input;
mod print;
mod server;
mod sessions;
mod shell;
mod start;
mod stop;
mod terminal;
mod verify;
mod verify_bus;
mod watch;

/// The result of a process.
struct Done {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Done {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout:\n{}\nstderr:\n{}",
            self.stdout, self.stderr
        );
        self
    }
}

/// A running process; its lines can be read as they come.
struct Running {
    child: Child,
    lines: Receiver<String>,
    seen: String,
    stderr: Option<JoinHandle<String>>,
}

impl Running {
    fn start(address: &str, args: &[&str], stdin: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wsman"))
            .arg("client")
            .args(["-H", address])
            .args(args)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_remove("WSMAN_HOST")
            .env("USER", "jane")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A process that fails early may not read its input.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let (sender, lines) = channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in stdout.lines() {
                let _ = sender.send(line.unwrap());
            }
        });
        let mut stderr = child.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        Self {
            child,
            lines,
            seen: String::new(),
            stderr: Some(stderr),
        }
    }

    /// Waits for the next line.
    #[track_caller]
    fn line(&mut self) -> String {
        let line = self.lines.recv_timeout(TIMEOUT).expect("another line");
        self.seen.push_str(&line);
        self.seen.push('\n');
        line
    }

    /// As Ctrl-C does.
    fn interrupt(&self) {
        let kill = Command::new("kill")
            .args(["-INT", &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(kill.success());
    }

    /// Ends the process; the code is -1.
    #[track_caller]
    fn kill(mut self) -> Done {
        self.child.kill().unwrap();
        self.done().expect(-1)
    }

    /// Waits for the end; everything printed, including what was read before, is in the result.
    #[track_caller]
    fn done(mut self) -> Done {
        let deadline = Instant::now() + TIMEOUT;
        while let Ok(line) = self.lines.recv_timeout(deadline - Instant::now()) {
            self.seen.push_str(&line);
            self.seen.push('\n');
        }
        assert!(
            Instant::now() < deadline,
            "the process did not end; it printed:\n{}",
            self.seen
        );
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let stderr = self.stderr.take().unwrap().join().unwrap();
        Done {
            code,
            stdout: std::mem::take(&mut self.seen),
            stderr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs `wsman` without a server to its end.
#[track_caller]
fn wsman(args: &[&str]) -> Done {
    let output = Command::new(env!("CARGO_BIN_EXE_wsman"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env_remove("WSMAN_HOST")
        .env_remove("WSMAN_AMQP_URL")
        .env("COLUMNS", "100")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Done {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Starts `wsman client` against the server.
fn spawn(server: &Server, args: &[&str]) -> Running {
    Running::start(&server.address.to_string(), args, "")
}

/// Runs `wsman client` against the server to its end.
#[track_caller]
fn run(server: &Server, args: &[&str]) -> Done {
    spawn(server, args).done()
}

/// Runs `wsman client` against the server with something on standard input.
#[track_caller]
fn run_with(server: &Server, args: &[&str], stdin: &str) -> Done {
    Running::start(&server.address.to_string(), args, stdin).done()
}

/// Compares with `testdata/cli/<name>.golden`; UPDATE=1 writes it.
#[track_caller]
fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/cli/{name}.golden"));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        actual,
        expected,
        "{} differs; UPDATE=1 rewrites it",
        path.display()
    );
}

/// Forty and a half days ago: far from where the printed age changes.
fn long_ago() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).unwrap()
        - SignedDuration::from_hours(40 * 24 + 12)
}

/// A workspace of which only the basics are known.
fn workspace(id: &str, phase: WorkspacePhase, version: u64) -> WorkspaceStatus {
    WorkspaceStatus {
        id: id.to_owned(),
        status_version: version,
        phase: phase.into(),
        metadata: Some(WorkspaceMetadata {
            owner: "alice".to_owned(),
            meta_id: "blue-owl".to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// The same workspace with an explanation.
fn saying(message: &str, status: WorkspaceStatus) -> WorkspaceStatus {
    WorkspaceStatus {
        message: message.to_owned(),
        ..status
    }
}

/// The same workspace, failed.
fn failed(reason: &str, status: WorkspaceStatus) -> WorkspaceStatus {
    let conditions = WorkspaceConditions {
        failed: reason.to_owned(),
        ..Default::default()
    };
    WorkspaceStatus {
        conditions: Some(conditions),
        ..status
    }
}
