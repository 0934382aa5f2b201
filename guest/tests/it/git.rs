//! Cloning: every target, every refusal, and no trace of a credential.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::server::{Reply, Server};
use crate::support::{Pod, git, repository, terminate};

pub(crate) fn clone(url: &str, more: Value) -> Value {
    let mut spec = json!({ "remote_uri": url, "checkout_location": "x", "config": {} });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({ "git": spec })
}

#[test]
fn every_target_is_checked_out() {
    let srv = tempfile::tempdir().unwrap();
    let [one, two, feature] = repository(srv.path(), "repo");
    let server = Server::git(srv.path());
    let url = server.url("repo/.git");
    for (more, commit, branch) in [
        (json!({}), &two, "main"),
        (json!({"full_clone": true}), &two, "main"),
        (
            json!({"target_mode": "REMOTE_COMMIT", "clone_taget": one}),
            &one,
            "HEAD",
        ),
        (
            json!({"target_mode": "REMOTE_COMMIT", "clone_taget": &one[..10]}),
            &one,
            "HEAD",
        ),
        (
            json!({"target_mode": "REMOTE_BRANCH", "clone_taget": "feature"}),
            &feature,
            "feature",
        ),
        (
            json!({"target_mode": "LOCAL_BRANCH", "clone_taget": "mine"}),
            &two,
            "mine",
        ),
    ] {
        let pod = Pod::new(clone(&url, more.clone()));
        let outcome = pod.init_ok();
        let step = &outcome["steps"][0];
        assert_eq!(
            (step["name"].as_str(), step["commit"].as_str()),
            (Some("git"), Some(&**commit))
        );
        assert_eq!(step["target"], url);
        let work = pod.root().join("x");
        assert_eq!(
            git(&work, &["rev-parse", "--abbrev-ref", "HEAD"]),
            branch,
            "{more}"
        );
        assert_eq!(git(&work, &["status", "--porcelain"]), "");
        assert_eq!(git(&work, &["remote", "get-url", "origin"]), url);
        git(&work, &["fetch", "-q", "origin"]);
        assert_eq!(git(&work, &["rev-parse", "origin/feature"]), feature);
    }
}

#[test]
fn upstream_and_settings_are_set_and_run_nothing() {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let server = Server::git(srv.path());
    let ran = srv.path().join("ran");
    let touch = format!("touch {}", ran.display());
    let pod = Pod::new(clone(
        &server.url("repo/.git"),
        json!({ "upstream_Remote_uri": "https://upstream.invalid/x", "config": { "custom_config": {
            "user.name": "Somebody", "core.fsmonitor": touch, "core.sshCommand": touch, "core.gitProxy": touch } } }),
    ));
    pod.init_ok();
    let work = pod.root().join("x");
    assert!(!ran.exists());
    assert_eq!(
        git(&work, &["config", "user.name"]),
        "u",
        "the command line of the test"
    );
    assert_eq!(git(&work, &["config", "--local", "user.name"]), "Somebody");
    assert_eq!(git(&work, &["config", "--local", "core.sshCommand"]), touch);
    assert_eq!(
        git(&work, &["remote", "get-url", "upstream"]),
        "https://upstream.invalid/x"
    );
}

#[test]
fn refusals_say_what_and_why() {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let server = Server::git(srv.path());
    let url = server.url("repo/.git");
    let disk = format!("file://{}", srv.path().join("repo").display());
    for (initializer, why) in [
        (clone("ext::sh", json!({})), "the remote \"ext::sh\" is refused: only http, https, ssh and git are allowed".to_owned()),
        (clone(&disk, json!({})), format!("the remote {disk:?} is refused: remotes on disk are not allowed")),
        (
            clone("https://u:marker@host/x", json!({})),
            "the remote \"https://host/x\" is refused: it contains credentials; they belong into the Git config".into(),
        ),
        (
            clone(&url, json!({"target_mode": "REMOTE_BRANCH", "clone_taget": "--upload-pack=x"})),
            "the ref \"--upload-pack=x\" is refused: it looks like an option".into(),
        ),
        (clone(&url, json!({"checkout_location": "../out"})), "path `../out` leaves its root by `..`".into()),
        (clone(&url, json!({"checkout_location": "/out"})), "path `/out` is absolute".into()),
        (
            clone(&url, json!({"target_mode": "REMOTE_BRANCH", "clone_taget": "gone"})),
            format!("cannot clone {url}: remote branch gone not found in upstream origin"),
        ),
        (
            clone(&url, json!({"target_mode": "REMOTE_COMMIT", "clone_taget": "0".repeat(40)})),
            format!("cannot clone {url}: there is no commit {}", "0".repeat(40)),
        ),
        (
            clone(&server.url("none.git"), json!({})),
            format!("cannot clone {}: repository '{}/' not found", server.url("none.git"), server.url("none.git")),
        ),
        (
            clone(&url, json!({"config": {"custom_config": {"--global.x": "y"}}})),
            "the setting \"--global.x\" is none of git's".into(),
        ),
        (
            clone(&url, json!({"config": {"authentication": "BASIC_AUTH", "auth_password": "marker"}})),
            "config.auth_password must name an extracted secret".into(),
        ),
    ] {
        let pod = Pod::new(initializer);
        let message = pod.init_fails();
        assert_eq!(message, why);
        assert!(!message.contains("marker"));
    }
}

#[test]
fn an_empty_repository_is_an_empty_working_copy() {
    let srv = tempfile::tempdir().unwrap();
    git(srv.path(), &["init", "-q", "--bare", "empty.git"]);
    let server = Server::git(srv.path());
    let pod = Pod::new(clone(&server.url("empty.git"), json!({})));
    let outcome = pod.init_ok();
    assert!(outcome["steps"][0].get("commit").is_none());
    assert!(pod.root().join("x/.git").is_dir());
}

#[test]
fn a_link_in_the_workspace_does_not_lead_a_clone_out() {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let outside = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(outside.path(), srv.path().join("repo/out")).unwrap();
    git(&srv.path().join("repo"), &["add", "."]);
    git(&srv.path().join("repo"), &["commit", "-qm", "link"]);
    let server = Server::git(srv.path());
    let url = server.url("repo/.git");
    let first = clone(&url, json!({"checkout_location": ""}));
    let second = clone(&url, json!({"checkout_location": "out/below"}));
    let pod = Pod::new(json!({ "composite": { "initializer": [first, second] } }));
    let outcome = pod.init();
    assert_eq!(outcome["ok"], false, "{outcome}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn a_redirect_to_another_host_gets_no_password() {
    let marker = "marker-77aa01";
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let other = Server::new(srv.path(), |_| {
        Reply::status(
            "401 Unauthorized",
            "www-authenticate: Basic realm=\"x\"\r\n",
            b"",
        )
    });
    let to = other.port;
    let server = Server::new(srv.path(), move |request| {
        let headers = format!(
            "location: http://127.0.0.1:{to}{}?{}\r\n",
            request.path, request.query
        );
        Reply::status("302 Found", &headers, b"")
    });
    let config = json!({ "authentication": "BASIC_AUTH", "auth_user": "user",
                         "auth_password": "extracted-secret/initializer.git" });
    let pod = Pod::new(clone(&server.url("repo/.git"), json!({ "config": config })))
        .secret("initializer.git", marker);
    let message = pod.init_fails();
    assert!(!message.contains(marker), "{message}");
    assert!(other.count() > 0);
    for request in other.seen.lock().unwrap().iter() {
        assert_eq!(request.header("authorization"), None);
    }
}

#[test]
fn what_passes_is_tried_again_and_the_rest_is_not() {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let failures = AtomicUsize::new(1);
    let server = Server::new(srv.path(), move |_| {
        match failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
            left.checked_sub(1)
        }) {
            Ok(_) => Reply::status("503 Service Unavailable", "", b""),
            Err(_) => Reply::Git,
        }
    });
    Pod::new(clone(&server.url("repo/.git"), json!({}))).init_ok();

    let denied = Server::new(srv.path(), |_| Reply::status("403 Forbidden", "", b""));
    let pod = Pod::new(clone(&denied.url("repo/.git"), json!({})));
    let message = pod.init_fails();
    assert!(
        message.ends_with("The requested URL returned error: 403"),
        "{message}"
    );
    assert_eq!(denied.count(), 1);
}

/// Adds a submodule to a repository without fetching it.
pub(crate) fn add_submodule(repo: &Path, path: &str, url: &str, commit: &str) {
    let text = format!("[submodule \"{path}\"]\n\tpath = {path}\n\turl = {url}\n");
    fs::write(repo.join(".gitmodules"), text).unwrap();
    git(repo, &["add", ".gitmodules"]);
    git(
        repo,
        &[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{commit},{path}"),
        ],
    );
    git(repo, &["commit", "-qm", "submodule"]);
}

#[test]
fn submodules_come_along_through_a_map_of_urls() {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let [one, ..] = repository(srv.path(), "lib");
    add_submodule(
        &srv.path().join("repo"),
        "lib",
        "git@host.invalid:lib/.git",
        &one,
    );
    let server = Server::git(srv.path());
    let pod = Pod::new(clone(&server.url("repo/.git"), json!({}))).set(
        "git",
        json!({ "instead_of": { "git@host.invalid:": server.url("") } }),
    );
    pod.init_ok();
    assert_eq!(pod.read("x/lib/file"), "one");
    let url = git(&pod.root().join("x"), &["config", "submodule.lib.url"]);
    assert_eq!(url, "git@host.invalid:lib/.git");
    assert_eq!(git(&pod.root().join("x"), &["status", "--porcelain"]), "");
}

#[test]
fn submodules_that_lead_elsewhere_or_never_end_are_refused() {
    let srv = tempfile::tempdir().unwrap();
    for (name, url, why) in [
        ("a", "ext::sh", "only http, https, ssh and git are allowed"),
        ("b", "file:///etc", "remotes on disk are not allowed"),
        ("c", "https://u:marker@host/x", "it contains credentials"),
    ] {
        let [one, ..] = repository(srv.path(), name);
        add_submodule(&srv.path().join(name), "sub", url, &one);
        let server = Server::git(srv.path());
        let pod = Pod::new(clone(&server.url(&format!("{name}/.git")), json!({})));
        let message = pod.init_fails();
        assert!(
            message.starts_with("cannot clone the submodule `sub` from "),
            "{message}"
        );
        assert!(
            message.contains(why) && !message.contains("marker"),
            "{message}"
        );
    }
    let [one, ..] = repository(srv.path(), "loop");
    let server = Server::git(srv.path());
    let url = server.url("loop/.git");
    add_submodule(&srv.path().join("loop"), "again", &url, &one);
    let message = Pod::new(clone(&url, json!({}))).init_fails();
    assert_eq!(
        message,
        format!("cannot clone the submodule `again` from {url}: it contains itself")
    );
}

#[test]
fn git_daemon_and_repositories_on_disk_are_cloned() {
    let srv = tempfile::tempdir().unwrap();
    let [_, two, _] = repository(srv.path(), "repo");
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    // `git daemon` would be a process of its own beside the server.
    let programs = git(srv.path(), &["--exec-path"]);
    let mut daemon = Command::new(Path::new(&programs).join("git-daemon"))
        .args([
            "--export-all",
            "--reuseaddr",
            "--verbose",
            "--listen=127.0.0.1",
        ])
        .arg(format!("--port={port}"))
        .arg(format!("--base-path={}", srv.path().display()))
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(daemon.stderr.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("Ready to rumble")));
    let drain = std::thread::spawn(move || lines.count());
    let pod = Pod::new(clone(
        &format!("git://127.0.0.1:{port}/repo/.git"),
        json!({}),
    ));
    let outcome = pod.init();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    drain.join().unwrap();
    assert_eq!(outcome["steps"][0]["commit"], two, "{outcome}");

    let disk = srv.path().join("repo").display().to_string();
    let pod = Pod::new(clone(&disk, json!({}))).set("git", json!({ "allow_file_remotes": true }));
    assert_eq!(pod.init_ok()["steps"][0]["commit"], two);
}

#[test]
fn a_signal_ends_a_clone_and_leaves_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/repo.git", listener.local_addr().unwrap());
    let pod = Pod::new(clone(&url, json!({})));
    let child = pod.command("init").spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    terminate(&child);
    let outcome = pod.outcome(&child.wait_with_output().unwrap());
    assert_eq!(outcome["message"], "stopped by SIGTERM before it was done");
    // Git went with it.
    let _ = stream.read_to_end(&mut Vec::new());
    assert_eq!(fs::read_dir(pod.root()).unwrap().count(), 0);
}

#[test]
fn a_run_that_was_cut_begins_anew_and_one_that_was_done_does_not() {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let server = Server::git(srv.path());
    let pod = Pod::new(clone(&server.url("repo/.git"), json!({})));
    fs::write(
        pod.state().join("init.json"),
        r#"{"fresh":true,"done":null}"#,
    )
    .unwrap();
    fs::create_dir_all(pod.root().join("x")).unwrap();
    fs::write(pod.root().join("x/half"), "half").unwrap();
    // A key that a killed run has copied.
    let home = pod.state().join("git-init-7");
    fs::create_dir(&home).unwrap();
    fs::write(home.join("ssh-key"), "key").unwrap();
    let first = pod.init_ok();
    assert!(!pod.root().join("x/half").exists() && !home.exists());
    let requests = server.count();
    fs::write(pod.root().join("x/edit"), "edit").unwrap();
    assert_eq!(pod.init_ok(), first);
    assert_eq!(
        (server.count(), pod.read("x/edit").as_str()),
        (requests, "edit")
    );
}

#[test]
fn ssh_without_a_server_says_why() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let pod = Pod::new(clone(&format!("ssh://git@127.0.0.1:{port}/x"), json!({})))
        .set("git", json!({ "ssh_key": "ssh-key" }))
        .secret("ssh-key", "no key");
    let message = pod.init_fails();
    assert!(message.contains("Connection refused"), "{message}");
}
