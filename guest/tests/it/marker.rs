//! A credential is where it belongs and nowhere else: not in files, backups, messages, arguments or environments.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::git::clone;
use crate::server::{Reply, Server};
use crate::support::{Pod, files_with, git, repository, terminate};

const MARKER: &str = "marker-9f2c51";
/// `user:marker-9f2c51`
const BASIC: &str = "Basic dXNlcjptYXJrZXItOWYyYzUx";

/// The marker as it is, and as git sends it.
fn spellings() -> [&'static str; 2] {
    [MARKER, BASIC.trim_start_matches("Basic ")]
}

fn contains(text: &[u8]) -> bool {
    spellings().iter().any(|marker| {
        text.windows(marker.len())
            .any(|part| part == marker.as_bytes())
    })
}

/// Processes whose arguments or environment contain the marker.
fn processes() -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            let path = entry.path().join(file);
            if contains(&fs::read(&path).unwrap_or_default()) {
                found.push(path.display().to_string());
            }
        }
    }
    found
}

/// A repository that wants the password, and what was seen of it while it answered.
fn private(srv: &Path) -> (Server, Arc<Mutex<Vec<String>>>) {
    let leaks = Arc::new(Mutex::new(Vec::new()));
    let found = leaks.clone();
    let server = Server::new(srv, move |request| {
        found.lock().unwrap().extend(processes());
        match request.header("authorization") {
            Some(BASIC) => Reply::Git,
            _ => Reply::status(
                "401 Unauthorized",
                "www-authenticate: Basic realm=\"x\"\r\n",
                b"",
            ),
        }
    });
    (server, leaks)
}

/// A directory with a git in front of git that records how it was called, and its record.
fn recorder(dir: &Path) -> (PathBuf, PathBuf) {
    let (programs, record) = (dir.join("programs"), dir.join("record"));
    fs::create_dir(&programs).unwrap();
    let found = Command::new("sh")
        .args(["-c", "command -v git"])
        .output()
        .unwrap();
    let script = format!(
        "#!/bin/sh\n{{ printf '%s\\n' \"$@\"; env; }} >>'{}'\nexec {} \"$@\"\n",
        record.display(),
        String::from_utf8(found.stdout).unwrap().trim()
    );
    let git = programs.join("git");
    fs::write(&git, script).unwrap();
    fs::set_permissions(&git, fs::Permissions::from_mode(0o755)).unwrap();
    (programs, record)
}

/// Runs a verb to its end while all processes are watched, and checks everything that it printed.
fn run(pod: &Pod, verb: &str, programs: &Path) -> Value {
    let mut path = programs.as_os_str().to_owned();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap());
    let mut child = pod.command(verb).env("PATH", path).spawn().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let ended = over.clone();
    let watch = std::thread::spawn(move || {
        let mut found = Vec::new();
        while !ended.load(Ordering::SeqCst) {
            found.extend(processes());
        }
        found
    });
    if verb == "save" {
        crate::save::wait_for_save(&mut child);
        terminate(&child);
    }
    let output = child.wait_with_output().unwrap();
    over.store(true, Ordering::SeqCst);
    assert_eq!(watch.join().unwrap(), [] as [String; 0]);
    assert!(!contains(&output.stdout) && !contains(&output.stderr));
    assert!(!contains(&fs::read(pod.dir().join("termination")).unwrap()));
    pod.outcome(&output)
}

/// Files below `dir` that hold the marker.
fn files(dir: &Path) -> Vec<PathBuf> {
    let found = spellings();
    found
        .iter()
        .flat_map(|marker| files_with(dir, marker))
        .collect()
}

#[test]
fn a_password_reaches_the_remote_and_nothing_else() {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let (server, leaks) = private(srv.path());
    let (programs, record) = recorder(srv.path());
    let url = server.url("repo/.git");
    let config = json!({ "authentication": "BASIC_AUTH", "auth_user": "user",
                         "auth_password": "extracted-secret/initializer.git",
                         "custom_config": { "user.name": "Somebody" } });
    let store = srv.path().join("store");
    let pod = Pod::new(clone(&url, json!({ "config": config })))
        .secret("initializer.git", MARKER)
        .set("store", json!({ "local": { "path": store } }))
        .set("save", json!({ "final_timeout": "60s" }));
    assert_eq!(run(&pod, "init", &programs)["ok"], true);
    assert_eq!(pod.read("x/file"), "two");

    // The user works on.
    let work = pod.root().join("x");
    fs::write(work.join("file"), "three").unwrap();
    git(&work, &["commit", "-qam", "three"]);
    let outcome = run(&pod, "save", &programs);
    assert_eq!(outcome["git"]["total_unpushed_commits"], 1, "{outcome}");
    for dir in [pod.root(), pod.state(), store.clone()] {
        assert_eq!(files(&dir), [] as [PathBuf; 0], "{}", dir.display());
    }
    // The data of the backup as it is, not only what comes out of it.
    for entry in fs::read_dir(store.join("owner/workspace/data")).unwrap() {
        let file = fs::File::open(entry.unwrap().path()).unwrap();
        let mut tar = Vec::new();
        zstd::Decoder::new(file)
            .unwrap()
            .read_to_end(&mut tar)
            .unwrap();
        assert!(tar.len() > 10_000 && !contains(&tar));
    }

    let copy =
        Pod::new(json!({ "backup": {} })).set("store", json!({ "local": { "path": store } }));
    assert_eq!(run(&copy, "init", &programs)["ok"], true);
    assert_eq!(files(copy.dir()), [] as [PathBuf; 0]);
    assert_eq!(copy.read("x/file"), "three");
    let calls = fs::read(record).unwrap();
    let text = String::from_utf8_lossy(&calls);
    assert!(text.contains("GIT_ASKPASS=") && text.contains("clone"));
    assert!(!contains(&calls));
    assert_eq!(leaks.lock().unwrap().as_slice(), [] as [String; 0]);
}

#[test]
fn a_one_time_secret_is_fetched_once_and_kept_nowhere() {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let (server, leaks) = private(srv.path());
    let given = AtomicBool::new(false);
    let secrets = Server::new(srv.path(), move |request| match request.path.as_str() {
        "/busy" => Reply::status("403 Forbidden", "", b""),
        "/empty" => Reply::status("200 OK", "", b"\n"),
        _ if given.swap(true, Ordering::SeqCst) => Reply::status("404 Not Found", "", b""),
        _ => Reply::status("200 OK", "", format!("user:{MARKER}").as_bytes()),
    });
    let (programs, record) = recorder(srv.path());
    let pod = |ots: &str| {
        let config =
            json!({ "authentication": "BASIC_AUTH_OTS", "auth_user": "nobody", "auth_ots": ots });
        Pod::new(clone(&server.url("repo/.git"), json!({ "config": config })))
    };
    let url = secrets.url("key-77d0");
    let first = pod("extracted-secret/ots").secret("ots", &url);
    assert_eq!(run(&first, "init", &programs)["ok"], true);
    assert_eq!(first.read("x/file"), "two");
    for dir in [first.root(), first.state()] {
        assert_eq!(files(&dir), [] as [PathBuf; 0], "{}", dir.display());
    }
    assert!(!contains(&fs::read(record).unwrap()));
    assert_eq!(leaks.lock().unwrap().as_slice(), [] as [String; 0]);

    let from = "cannot fetch the one-time secret from 127.0.0.1:";
    for (ots, why) in [
        (url.as_str(), format!("{from} it is gone, which is how it is once it was fetched")),
        (&secrets.url("busy"), format!("{from} it answers 403 Forbidden")),
        (&secrets.url("empty"), format!("{from} it is empty, too long or no text")),
        (
            "file:///run/key-77d0",
            "config.auth_ots is refused: it must be an http or https URL, without credentials in it, of another machine".into(),
        ),
    ] {
        assert_eq!(pod(ots).init_fails(), why);
    }
}

#[test]
fn a_wrong_password_is_the_remotes_own_refusal() {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let (server, _) = private(srv.path());
    let url = server.url("repo/.git");
    let config = json!({ "authentication": "BASIC_AUTH", "auth_user": "user",
                         "auth_password": "extracted-secret/initializer.git" });
    let pod =
        Pod::new(clone(&url, json!({ "config": config }))).secret("initializer.git", "wrong-4417");
    let message = pod.init_fails();
    assert_eq!(
        message,
        format!("cannot clone {url}: authentication failed for '{url}/'")
    );
    let none = Pod::new(clone(&url, json!({}))).init_fails();
    assert!(
        none.starts_with(&format!("cannot clone {url}: could not read Username")),
        "{none}"
    );
}
