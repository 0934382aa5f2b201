//! Containers that wait for their release: real processes, in a directory of their own.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const GUEST: &str = env!("CARGO_BIN_EXE_wsman-guest");

struct Hold {
    dir: tempfile::TempDir,
}

impl Hold {
    fn new() -> Hold {
        Hold {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("hold")
    }

    fn start(&self, more: &[&str]) -> Child {
        let mut command = Command::new(GUEST);
        command.args(["hold", "--dir"]).arg(self.path()).args(more);
        command.env("KEPT", "as it was").env("NEW", "old");
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    fn release(&self, variables: &[&OsStr]) -> Output {
        let mut command = Command::new(GUEST);
        command.args(["release", "--dir"]).arg(self.path());
        for variable in variables {
            command.arg("--env").arg(variable);
        }
        command.output().unwrap()
    }

    /// Waits until a process holds: it has made its directory.
    fn until_held(&self) {
        until(|| self.path().is_dir());
    }
}

fn until(holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "it does not come");
        std::thread::yield_now();
    }
}

fn ends(child: Child) -> (i32, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let code = output.status.code().unwrap_or(-1);
    (code, text(&output.stdout), text(&output.stderr))
}

fn term(child: &Child) {
    let id = i32::try_from(child.id()).unwrap();
    let id = rustix::process::Pid::from_raw(id).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn the_command_starts_with_the_release_and_its_variables() {
    let hold = Hold::new();
    let mut child = hold.start(&["--", "env", "-0"]);
    hold.until_held();
    assert_eq!(child.try_wait().unwrap(), None);
    let odd = OsString::from_vec(b"ODD=\xff\n= ".to_vec());
    let released = hold.release(&[OsStr::new("NEW=two\nlines"), &odd]);
    assert!(released.status.success(), "{released:?}");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let has = |wanted: &[u8]| {
        output
            .stdout
            .split(|byte| *byte == 0)
            .any(|one| one == wanted)
    };
    for wanted in [&b"KEPT=as it was"[..], b"NEW=two\nlines", odd.as_bytes()] {
        assert!(has(wanted), "{}", String::from_utf8_lossy(&output.stdout));
    }
    assert!(!has(b"NEW=old"));
}

#[test]
fn the_first_release_stands_and_lasts() {
    let hold = Hold::new();
    // Nothing needs to wait yet.
    assert!(hold.release(&[OsStr::new("NEW=first")]).status.success());
    let again = hold.release(&[OsStr::new("NEW=second")]);
    assert!(again.status.success());
    assert_eq!(
        String::from_utf8_lossy(&again.stderr),
        "wsman-guest: it was released before\n"
    );
    for _ in 0..2 {
        let (code, out, _) = ends(hold.start(&["--", "sh", "-c", "echo $NEW; exit 5"]));
        assert_eq!((code, out.as_str()), (5, "first\n"));
    }
    // An init container just ends.
    assert_eq!(ends(hold.start(&[])), (0, String::new(), String::new()));
    let left = fs::read_dir(hold.path()).unwrap().count();
    assert_eq!(left, 1, "only the release is left");
}

#[test]
fn a_wrong_variable_releases_nothing() {
    let hold = Hold::new();
    let mut child = hold.start(&[]);
    hold.until_held();
    for wrong in ["NAME", "=value"] {
        let refused = hold.release(&[OsStr::new("A=b"), OsStr::new(wrong)]);
        assert_eq!(refused.status.code(), Some(1));
        let why = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            why.contains(&format!("--env {wrong:?}: must be NAME=VALUE")),
            "{why}"
        );
    }
    assert_eq!(child.try_wait().unwrap(), None);
    assert!(hold.release(&[]).status.success());
    assert_eq!(ends(child).0, 0);
}

#[test]
fn a_command_that_cannot_run_says_so() {
    let hold = Hold::new();
    assert!(hold.release(&[]).status.success());
    let (code, _, why) = ends(hold.start(&["--", "/no/such/program"]));
    assert_eq!(code, 127);
    assert!(
        why.starts_with("wsman-guest: cannot run \"/no/such/program\": "),
        "{why}"
    );
    let file = hold.dir.path().join("file");
    fs::write(&file, "no program").unwrap();
    let (code, _, why) = ends(hold.start(&["--", file.to_str().unwrap()]));
    assert_eq!(code, 126, "{why}");
}

#[test]
fn sigterm_ends_it_at_once() {
    let hold = Hold::new();
    let child = hold.start(&["--", "true"]);
    hold.until_held();
    term(&child);
    assert_eq!(ends(child).0, 143);
    // The command has the signal's default again.
    assert!(hold.release(&[]).status.success());
    let mut child = hold.start(&["--", "sh", "-c", "echo up; kill -TERM $$; echo survived"]);
    let mut out = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut out)
        .unwrap();
    assert_eq!(out, "up\n");
    child.wait().unwrap();
}

#[test]
fn one_that_is_killed_goes_on_where_it_was() {
    let hold = Hold::new();
    let mut child = hold.start(&["--", "true"]);
    hold.until_held();
    child.kill().unwrap();
    child.wait().unwrap();
    let mut child = hold.start(&["--", "true"]);
    assert_eq!(child.try_wait().unwrap(), None);
    // A release that was killed halfway left a file that is no release.
    fs::write(hold.path().join(".release-1"), "A=").unwrap();
    assert!(hold.release(&[]).status.success());
    assert_eq!(ends(child).0, 0);
}

#[test]
fn an_annotation_releases() {
    let hold = Hold::new();
    let file = hold.dir.path().join("annotations");
    fs::write(&file, "other=\"x\"\n").unwrap();
    let mut child = hold.start(&["--file", file.to_str().unwrap()]);
    hold.until_held();
    assert_eq!(child.try_wait().unwrap(), None);
    // As the kubelet does, by a rename.
    let new = hold.dir.path().join("new");
    fs::write(
        &new,
        "other=\"x\"\nwsman.dev/released-at=\"2026-01-01T00:00:00Z\"\n",
    )
    .unwrap();
    fs::rename(&new, &file).unwrap();
    assert_eq!(ends(child).0, 0);
}

#[test]
fn a_process_among_others_has_a_directory_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let guest = |verb| {
        let mut command = Command::new(GUEST);
        command.arg(verb).env("WSMAN_ROOTFS", root.path());
        command.status().unwrap()
    };
    assert!(guest("release").success());
    assert!(root.path().join("run/wsman-hold/released").exists());
    assert!(guest("hold").success());
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for verb in ["hold", "release"] {
        let output = Command::new(GUEST)
            .args([verb, "--dir"])
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(1));
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = format!("cannot use the hold directory {}: ", file.display());
        assert!(why.contains(&expected), "{why}");
    }
}

#[test]
fn it_installs_itself() {
    let dir = tempfile::tempdir().unwrap();
    let install = |path: &Path| {
        Command::new(GUEST)
            .arg("install")
            .arg(path)
            .output()
            .unwrap()
    };
    let own = dir.path().join("hold");
    fs::write(&own, "an older one").unwrap();
    for path in [own.as_path(), dir.path()] {
        assert!(install(path).status.success());
    }
    for name in ["hold", "wsman-guest"] {
        let path = dir.path().join(name);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o755);
        let shown = Command::new(&path).arg("--version").output().unwrap();
        assert!(shown.status.success());
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2);
    let lost = install(&dir.path().join("no/such/place"));
    assert_eq!(lost.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&lost.stderr).contains("cannot install to"));
}

#[test]
fn ports_are_ready_when_all_are_listened_on() {
    let ports = |ports: &[u16]| {
        let ports = ports.iter().map(u16::to_string);
        Command::new(GUEST)
            .arg("ports")
            .args(ports)
            .output()
            .unwrap()
    };
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let (one, two) = (listen(), listen());
    let both = [port(&one), port(&two)];
    assert!(ports(&both).status.success());
    drop(two);
    let output = ports(&both);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        format!("wsman-guest: nothing listens on {}\n", both[1])
    );
    assert_eq!(ports(&[0]).status.code(), Some(2));
}
