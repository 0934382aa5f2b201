//! Git over SSH, against a real sshd: keys, hosts that are known or not, and reasons.

use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::git::{add_submodule, clone};
use crate::server::Server;
use crate::support::{Pod, files_with, git, lacks, repository};

const SSHD: &str = "/usr/sbin/sshd";

/// An sshd of its own: keys, settings and a port on loopback. Each connection is a process that ends with it.
struct Sshd {
    dir: tempfile::TempDir,
    port: u16,
    user: String,
}

impl Sshd {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [host, user, stranger] = ["host", "user", "stranger"].map(|name| dir.path().join(name));
        for key in [&host, &user, &stranger] {
            run(Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(key));
        }
        let keys = dir.path().join("authorized_keys");
        fs::copy(user.with_extension("pub"), &keys).unwrap();
        let config = dir.path().join("sshd_config");
        let settings = [
            format!("HostKey {}", host.display()),
            format!("AuthorizedKeysFile {}", keys.display()),
            "AuthenticationMethods publickey".into(),
            "PermitRootLogin prohibit-password".into(),
            "PidFile none".into(),
            "StrictModes no".into(),
            "UsePAM no".into(),
        ];
        fs::write(&config, settings.join("\n") + "\n").unwrap();
        // Where sshd shuts its unprivileged half in; the service makes it where there is one.
        let _ = fs::create_dir("/run/sshd");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut session = Command::new(SSHD)
                    .args(["-i", "-e", "-f"])
                    .arg(&config)
                    .stdin(OwnedFd::from(stream.try_clone().unwrap()))
                    .stdout(OwnedFd::from(stream))
                    .stderr(Stdio::null())
                    .spawn()
                    .unwrap();
                std::thread::spawn(move || session.wait());
            }
        });
        let user = run(Command::new("id").arg("-un"));
        Self { dir, port, user }
    }

    fn url(&self, path: &Path) -> String {
        format!(
            "ssh://{}@127.0.0.1:{}{}",
            self.user,
            self.port,
            path.display()
        )
    }

    fn key(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// What a known_hosts file says of it, or says wrongly.
    fn known_as(&self, key: &str) -> String {
        format!(
            "[127.0.0.1]:{} {}",
            self.port,
            self.key(&format!("{key}.pub"))
        )
    }

    /// Kind and fingerprint of its key.
    fn fingerprint(&self) -> String {
        let line = run(Command::new("ssh-keygen")
            .arg("-lf")
            .arg(self.dir.path().join("host.pub")));
        format!("ssh-ed25519 {}", line.split(' ').nth(1).unwrap())
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn no_sshd(test: &str) -> bool {
    !Path::new(SSHD).exists() && lacks(test, "sshd", "sshd (openssh-server)")
}

/// A clone of `url` with a key, and with known hosts where there are some.
fn pod(url: &str, key: &str, known_hosts: Option<&str>, more: Value) -> Pod {
    let mut settings = json!({ "ssh_key": "ssh-key" });
    for (key, value) in more.as_object().unwrap() {
        settings[key] = value.clone();
    }
    if known_hosts.is_some() {
        settings["known_hosts"] = json!("known-hosts");
    }
    Pod::new(clone(url, json!({})))
        .secret("ssh-key", key)
        .secret("known-hosts", known_hosts.unwrap_or_default())
        .set("git", settings)
}

fn served() -> (Sshd, tempfile::TempDir, PathBuf) {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let repo = srv.path().join("repo");
    (Sshd::new(), srv, repo)
}

#[test]
fn a_key_and_a_known_host_are_enough() {
    if no_sshd("a_key_and_a_known_host_are_enough") {
        return;
    }
    let (sshd, _srv, repo) = served();
    let url = sshd.url(&repo);
    let known = sshd.known_as("host");
    let with_class_key = pod(&url, &sshd.key("user"), Some(&known), json!({}));
    // The key of the initializer itself wins.
    let with_own_key = pod(&url, &sshd.key("stranger"), Some(&known), json!({}))
        .secret("initializer.git.ssh-key", sshd.key("user").trim_end());
    for pod in [with_class_key, with_own_key] {
        let outcome = pod.init_ok();
        assert_eq!(outcome["steps"][0]["target"], url);
        assert_eq!(pod.read("x/file"), "two");
        for dir in [pod.root(), pod.state()] {
            assert_eq!(files_with(&dir, "PRIVATE KEY"), [] as [PathBuf; 0]);
        }
    }
}

#[test]
fn the_secret_of_a_class_has_the_key_and_may_have_known_hosts() {
    if no_sshd("the_secret_of_a_class_has_the_key_and_may_have_known_hosts") {
        return;
    }
    let (sshd, _srv, repo) = served();
    let settings = json!({ "more_known_hosts": "known_hosts" });
    let with = || pod(&sshd.url(&repo), &sshd.key("user"), None, settings.clone());
    with()
        .secret("known_hosts", &sshd.known_as("host"))
        .init_ok();
    let message = with().init_fails();
    assert!(message.contains("is not in known_hosts"), "{message}");
}

#[test]
fn a_host_that_nobody_vouches_for_is_named_with_its_fingerprint() {
    if no_sshd("a_host_that_nobody_vouches_for_is_named_with_its_fingerprint") {
        return;
    }
    let (sshd, _srv, repo) = served();
    let url = sshd.url(&repo);
    let key = sshd.key("user");
    let fingerprint = sshd.fingerprint();
    let unknown =
        format!("cannot clone {url}: the key of 127.0.0.1 is not in known_hosts: {fingerprint}");
    for known in [None, Some("")] {
        assert_eq!(pod(&url, &key, known, json!({})).init_fails(), unknown);
    }
    let changed = format!(
        "cannot clone {url}: the key of 127.0.0.1 is not the one in known_hosts: {fingerprint}"
    );
    let other = sshd.known_as("stranger");
    let accept = json!({ "accept_new_host_keys": true });
    for more in [json!({}), accept.clone()] {
        let pod = pod(&url, &key, Some(&other), more);
        assert_eq!(pod.init_fails(), changed);
    }
    // A new one is accepted only where the class says so.
    let pod = pod(&url, &key, None, accept);
    pod.init_ok();
    assert_eq!(pod.read("x/file"), "two");
}

#[test]
fn a_key_that_is_refused_and_a_path_that_is_not_there_are_ssh_and_gits_own_reasons() {
    if no_sshd("a_key_that_is_refused_and_a_path_that_is_not_there_are_ssh_and_gits_own_reasons") {
        return;
    }
    let (sshd, srv, repo) = served();
    let known = sshd.known_as("host");
    let url = sshd.url(&repo);
    let message = pod(&url, &sshd.key("stranger"), Some(&known), json!({})).init_fails();
    let user = &sshd.user;
    assert_eq!(
        message,
        format!("cannot clone {url}: {user}@127.0.0.1: Permission denied (publickey).")
    );
    let gone = srv.path().join("gone");
    let url = sshd.url(&gone);
    let message = pod(&url, &sshd.key("user"), Some(&known), json!({})).init_fails();
    assert_eq!(
        message,
        format!(
            "cannot clone {url}: '{}' does not appear to be a git repository",
            gone.display()
        )
    );
}

#[test]
fn submodules_by_ssh_are_cloned_as_they_are_or_through_the_map() {
    if no_sshd("submodules_by_ssh_are_cloned_as_they_are_or_through_the_map") {
        return;
    }
    let (sshd, srv, repo) = served();
    let [one, ..] = repository(srv.path(), "lib");
    let by_name = "git@host.invalid:lib/.git";
    add_submodule(&repo, "lib", by_name, &one);
    let (key, known) = (sshd.key("user"), sshd.known_as("host"));
    let to_ssh = format!("{}/", sshd.url(srv.path()));
    let server = Server::git(srv.path());
    for (url, to) in [
        (sshd.url(&repo), to_ssh.clone()),
        (server.url("repo/.git"), to_ssh),
        (sshd.url(&repo), server.url("")),
    ] {
        let map = json!({ "instead_of": { "git@host.invalid:": to } });
        let pod = pod(&url, &key, Some(&known), map);
        pod.init_ok();
        assert_eq!(pod.read("x/lib/file"), "one", "{url} and {to}");
        let work = pod.root().join("x");
        assert_eq!(git(&work, &["config", "submodule.lib.url"]), by_name);
        assert_eq!(git(&work, &["status", "--porcelain"]), "");
    }
    // Without the map its host is nowhere, and the message says which submodule it is.
    let message = pod(&sshd.url(&repo), &key, Some(&known), json!({})).init_fails();
    assert!(
        message.starts_with(&format!(
            "cannot clone the submodule `lib` from {by_name}: "
        )),
        "{message}"
    );
    assert!(message.contains("host.invalid"), "{message}");
}
