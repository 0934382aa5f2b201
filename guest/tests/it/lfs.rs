//! Git LFS: files come in one batch instead of pointers, or the reason why not.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::git::clone;
use crate::server::{Reply, Request, Server};
use crate::support::{Pod, git, lacks, repository};

const BATCH: &str = "/objects/batch";

/// A repository `repo` that keeps files with LFS; returns what the pointers stand for, by hash.
fn lfs_repository(srv: &Path, files: &[(&str, &[u8])]) -> HashMap<String, Vec<u8>> {
    repository(srv, "repo");
    let repo = srv.join("repo");
    fs::write(
        repo.join(".gitattributes"),
        "*.bin filter=lfs diff=lfs merge=lfs -text\n",
    )
    .unwrap();
    let mut objects = HashMap::new();
    for (name, content) in files {
        let oid = format!("{:x}", Sha256::digest(content));
        let pointer = format!(
            "version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {}\n",
            content.len()
        );
        let path = repo.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, pointer).unwrap();
        objects.insert(oid, content.to_vec());
    }
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "-qm", "lfs"]);
    objects
}

/// Answers the batch API and serves objects; none for everything else.
fn lfs(objects: &HashMap<String, Vec<u8>>, request: &Request) -> Option<Reply> {
    if request.path.ends_with(BATCH) {
        let asked: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(asked["operation"], "download");
        let host = request.header("host").unwrap();
        let answers: Vec<Value> = asked["objects"].as_array().unwrap().iter().map(|object| {
            let oid = object["oid"].as_str().unwrap();
            match objects.contains_key(oid) {
                true => json!({ "oid": oid, "size": object["size"], "authenticated": true,
                    "actions": { "download": { "href": format!("http://{host}/objects/{oid}") } } }),
                false => json!({ "oid": oid, "size": object["size"],
                    "error": { "code": 404, "message": "Object does not exist" } }),
            }
        }).collect();
        let body = json!({ "transfer": "basic", "objects": answers }).to_string();
        let kind = "content-type: application/vnd.git-lfs+json\r\n";
        return Some(Reply::status("200 OK", kind, body.as_bytes()));
    }
    let oid = request.path.strip_prefix("/objects/")?;
    Some(Reply::status("200 OK", "", &objects[oid]))
}

/// Requests whose path ends so.
fn asked(server: &Server, end: &str) -> Vec<Request> {
    let seen = server.seen.lock().unwrap();
    seen.iter()
        .filter(|request| request.path.ends_with(end))
        .cloned()
        .collect()
}

fn no_lfs(test: &str) -> bool {
    let found = Command::new("git").args(["lfs", "version"]).output();
    !found.unwrap().status.success() && lacks(test, "git-lfs", "git-lfs")
}

/// `user:marker-5b2e90`
const BASIC: &str = "Basic dXNlcjptYXJrZXItNWIyZTkw";

fn with_password(url: &str) -> Pod {
    let config = json!({ "authentication": "BASIC_AUTH", "auth_user": "user",
                         "auth_password": "extracted-secret/initializer.git" });
    Pod::new(clone(url, json!({ "config": config }))).secret("initializer.git", "marker-5b2e90")
}

#[test]
fn files_come_in_one_batch_and_not_as_pointers() {
    if no_lfs("files_come_in_one_batch_and_not_as_pointers") {
        return;
    }
    let srv = tempfile::tempdir().unwrap();
    let large = vec![7; 300_000];
    let files: [(&str, &[u8]); 3] = [
        ("a.bin", b"first"),
        ("deep/b.bin", b"second"),
        ("deep/c.bin", &large),
    ];
    let objects = lfs_repository(srv.path(), &files);
    // Git and LFS want the same password.
    let server = Server::new(srv.path(), move |request| {
        let denied = "www-authenticate: Basic realm=\"x\"\r\n";
        match request.header("authorization") {
            _ if request.path.starts_with("/objects/") => lfs(&objects, request).unwrap(),
            Some(BASIC) => lfs(&objects, request).unwrap_or(Reply::Git),
            _ => Reply::status("401 Unauthorized", denied, b""),
        }
    });
    let pod = with_password(&server.url("repo/.git"));
    let outcome = pod.init_ok();
    for (name, content) in files {
        assert!(
            fs::read(pod.root().join("x").join(name)).unwrap() == content,
            "{name}"
        );
    }
    assert!(outcome["steps"][0]["bytes"].as_u64().unwrap() > 300_000);
    let batches: Vec<_> = asked(&server, BATCH)
        .into_iter()
        .filter(|request| request.header("authorization").is_some())
        .collect();
    assert_eq!(batches.len(), 1);
    let batch: Value = serde_json::from_slice(&batches[0].body).unwrap();
    assert_eq!(batch["objects"].as_array().unwrap().len(), 3);
    let status = Command::new("git")
        .args(["-c", "safe.directory=*", "status", "--porcelain"])
        .current_dir(pod.root().join("x"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout), "");
}

#[test]
fn an_object_that_is_gone_is_a_stated_failure() {
    if no_lfs("an_object_that_is_gone_is_a_stated_failure") {
        return;
    }
    let srv = tempfile::tempdir().unwrap();
    lfs_repository(srv.path(), &[("a.bin", b"gone")]);
    let server = Server::new(srv.path(), |request| {
        lfs(&HashMap::new(), request).unwrap_or(Reply::Git)
    });
    let url = server.url("repo/.git");
    let message = Pod::new(clone(&url, json!({}))).init_fails();
    let begins = format!("cannot fetch the LFS files of {url}: ");
    assert!(message.starts_with(&begins), "{message}");
    assert!(message.contains("Object does not exist"), "{message}");
}

#[test]
fn an_lfs_server_elsewhere_gets_no_password() {
    if no_lfs("an_lfs_server_elsewhere_gets_no_password") {
        return;
    }
    let srv = tempfile::tempdir().unwrap();
    lfs_repository(srv.path(), &[("a.bin", b"x")]);
    let denied = || {
        Reply::status(
            "401 Unauthorized",
            "www-authenticate: Basic realm=\"x\"\r\n",
            b"",
        )
    };
    let other = Server::new(srv.path(), move |_| denied());
    let repo = srv.path().join("repo");
    fs::write(
        repo.join(".lfsconfig"),
        format!("[lfs]\n\turl = {}\n", other.url("lfs")),
    )
    .unwrap();
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "-qm", "elsewhere"]);
    let server = Server::new(srv.path(), move |request| {
        match request.header("authorization") {
            Some(BASIC) => Reply::Git,
            _ => denied(),
        }
    });
    let message = with_password(&server.url("repo/.git")).init_fails();
    assert!(
        message.starts_with("cannot fetch the LFS files of "),
        "{message}"
    );
    assert!(!message.contains("marker-5b2e90"));
    assert!(other.count() > 0);
    for request in other.seen.lock().unwrap().iter() {
        assert_eq!(request.header("authorization"), None);
    }
}

#[test]
fn lfs_without_git_lfs_is_a_failure_and_no_checkout_of_pointers() {
    let srv = tempfile::tempdir().unwrap();
    repository(srv.path(), "repo");
    let repo = srv.path().join("repo");
    fs::create_dir(repo.join("assets")).unwrap();
    fs::write(
        repo.join("assets/.gitattributes"),
        "*.bin filter=lfs -text\n",
    )
    .unwrap();
    git(&repo, &["add", "."]);
    git(&repo, &["commit", "-qm", "lfs"]);
    let server = Server::git(srv.path());
    let url = server.url("repo/.git");
    // An image that has git alone.
    let programs = tempfile::tempdir().unwrap();
    let found = Command::new("sh")
        .args(["-c", "command -v git"])
        .output()
        .unwrap();
    let found = String::from_utf8(found.stdout).unwrap();
    symlink(found.trim(), programs.path().join("git")).unwrap();
    let pod = Pod::new(clone(&url, json!({})));
    let output = pod
        .command("init")
        .env("PATH", programs.path())
        .output()
        .unwrap();
    assert_eq!(
        pod.outcome(&output)["message"],
        format!(
            "cannot clone {url}: it keeps files with Git LFS, and git-lfs is not in this image"
        )
    );
    assert_eq!(fs::read_dir(pod.root()).unwrap().count(), 0);
}
