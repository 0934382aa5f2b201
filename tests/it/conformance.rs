//! One list of API behaviour, run against the embedded API server and against a real one.
//!
//! `entries.rs`, `changes.rs`, `edges.rs` and `gates.rs` hold the table of scripts, `sim/testdata/conformance/<name>.golden` the
//! responses of a real kube-apiserver. `UPDATE=1 cargo test conformance_real` rewrites those files; the embedded server
//! never does. A script is lines of
//!
//! ```text
//! METHOD path [body] [=> pointer ...]
//! ```
//!
//! where METHOD is an HTTP method, or JSONPATCH, MERGE, STRATEGIC (kinds of PATCH), TABLE (gets columns and rows),
//! WATCH (reads events until the server ends the watch), KEEP (`KEEP name pointer` saves a value of the last
//! answer as `$name`) or AWAIT (`AWAIT path pointer value`, through a watch; `gone` as value waits
//! for a deletion). A path without a leading slash is in the entry's own namespace. `@pod` is a small
//! pod named `a`, `@spec` its spec, `@big9@` nine letters. Pointers cut an answer down to these parts of it. A leading `-`
//! leaves the answer out of the transcript. Two precautions against the real thing: pods are bound to
//! nodes named `$ns`, for the controller manager removes the pods of a node that it has missed for
//! 40 s; and a list goes before a deletion, for a pod deleted before the watch cache has seen its
//! binding is given no grace.

#![allow(clippy::expect_used, reason = "a test that cannot go on ends")]

mod ask;
mod changes;
mod edges;
mod embedded;
mod entries;
mod gates;
mod kubectl;
mod normalize;
mod rights;
mod snapshots;

use crate::support::{envtest, skip};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use wsman_sim::apiserver::store::Store;
use wsman_sim::apiserver::{Options, Server};
use wsman_sim::kubelet;

use ask::{request, send, table};
use normalize::Normalizer;

const SPEC: &str = r#"{"schedulerName":"none","serviceAccountName":"default","automountServiceAccountToken":false,
    "containers":[{"name":"c","image":"i:1"}]}"#;
/// How long anything awaited may take on a busy machine.
const TIMEOUT: Duration = Duration::from_secs(60);

/// One behaviour: its name, which is its golden's, and the script that shows it.
struct Entry {
    name: &'static str,
    /// It shows work of the controller manager, which a bare API server lacks.
    controllers: bool,
    script: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_embedded() {
    let server = Server::start(Store::new(), Options::default())
        .await
        .expect("start");
    let client = client(&server.kubeconfig()).await;
    run(&client, "", true, false).await;
    server.stop().await;
}

/// The simulation's garbage collector, beside a server without one, does what a real one does.
#[tokio::test(flavor = "multi_thread")]
async fn conformance_collector() {
    let options = Options {
        controllers: false,
        ..Options::default()
    };
    let server = Server::start(Store::new(), options).await.expect("start");
    let client = client(&server.kubeconfig()).await;
    let options = kubelet::Options {
        nodes: 0,
        collect_garbage: true,
        ..kubelet::Options::default()
    };
    let shutdown = CancellationToken::new();
    let simulation = tokio::spawn(kubelet::run(client.clone(), options, shutdown.clone()));
    run(&client, "gc_", true, false).await;
    shutdown.cancel();
    simulation.await.expect("no panic").expect("simulation");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_real() {
    let Some(server) = envtest::real().await else {
        return skip("conformance_real");
    };
    run(
        &server.client(),
        "",
        server.has_controllers(),
        std::env::var_os("UPDATE").is_some(),
    )
    .await;
}

async fn client(kubeconfig: &str) -> kube::Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("kubeconfig");
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("config");
    config.default_retry = false;
    kube::Client::try_from(config).expect("client")
}

/// Runs every entry whose name starts with `prefix`, and reports all that fail, each with its difference.
async fn run(client: &kube::Client, prefix: &str, controllers: bool, update: bool) {
    let only = std::env::var("CONFORMANCE").unwrap_or_default();
    let entries: Vec<_> = entries::ENTRIES
        .iter()
        .chain(changes::ENTRIES)
        .chain(edges::ENTRIES)
        .chain(gates::ENTRIES)
        .filter(|entry| entry.name.starts_with(prefix) && entry.name.contains(&only))
        .collect();
    run_all(client, &entries, controllers, update).await;
}

async fn run_all(client: &kube::Client, entries: &[&Entry], controllers: bool, update: bool) {
    let skipped = entries
        .iter()
        .filter(|entry| entry.controllers && !controllers)
        .count();
    let results = futures::stream::iter(
        entries
            .iter()
            .filter(|entry| controllers || !entry.controllers),
    )
    .map(|entry| async {
        (
            entry.name,
            tokio::time::timeout(2 * TIMEOUT, transcript(client, entry)).await,
        )
    })
    .buffered(8);
    let results: Vec<_> = results.collect().await;
    let mut report = String::new();
    let mut failed = 0;
    for (name, result) in &results {
        let Err(why) = result
            .as_ref()
            .map_err(|_| "took too long".to_owned())
            .and_then(|got| compare(name, got, update))
        else {
            continue;
        };
        failed += 1;
        let _ = write!(report, "\n--- {name}\n{why}");
    }
    let total = results.len();
    eprintln!(
        "conformance: {} of {total} entries pass, {skipped} need a controller manager",
        total - failed
    );
    assert_eq!(
        failed, 0,
        "{failed} of {total} entries differ from the real API server:{report}"
    );
}

fn compare(name: &str, got: &str, update: bool) -> Result<(), String> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join(format!("sim/testdata/conformance/{name}.golden"));
    if update {
        return std::fs::write(&path, got).map_err(|error| error.to_string());
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    if expected == got {
        Ok(())
    } else {
        Err(diff(&expected, got))
    }
}

/// The lines that differ, by longest common subsequence.
fn diff(expected: &str, got: &str) -> String {
    let (old, new): (Vec<_>, Vec<_>) = (expected.lines().collect(), got.lines().collect());
    let mut common = vec![vec![0_u16; new.len() + 1]; old.len() + 1];
    for (i, line) in old.iter().enumerate().rev() {
        for (j, other) in new.iter().enumerate().rev() {
            common[i][j] = if line == other {
                common[i + 1][j + 1] + 1
            } else {
                common[i + 1][j].max(common[i][j + 1])
            };
        }
    }
    let (mut i, mut j, mut text) = (0, 0, String::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            if old[i].contains("\"do\":") {
                let _ = writeln!(text, "  {}", old[i]);
            }
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            let _ = writeln!(text, "- {}", old[i]);
            i += 1;
        } else {
            let _ = writeln!(text, "+ {}", new[j]);
            j += 1;
        }
    }
    text
}

/// What the server answers to the script, in a namespace of its own.
async fn transcript(client: &kube::Client, entry: &Entry) -> String {
    let stem = format!("conformance-{}-", entry.name.replace('_', "-"));
    let namespace = json!({"metadata": {"generateName": stem}});
    let (code, namespace) = request(client, "POST", "/api/v1/namespaces", "", namespace).await;
    assert_eq!(code, 201, "{namespace}");
    let name = namespace["metadata"]["name"]
        .as_str()
        .expect("a name")
        .to_owned();
    let account = json!({"metadata": {"name": "default"}});
    // The controller manager may have been faster: either way it is there afterwards.
    request(
        client,
        "POST",
        &format!("/api/v1/namespaces/{name}/serviceaccounts"),
        "",
        account,
    )
    .await;
    let mut normalizer = Normalizer::new(&name);
    let mut run = Run {
        client,
        kept: vec![("ns".into(), name.clone())],
        last: Value::Null,
    };
    let mut steps = Vec::new();
    for line in entry
        .script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (line, silent) = line
            .strip_prefix('-')
            .map_or((line, false), |line| (line, true));
        let (line, pointers) = line.split_once(" => ").unwrap_or((line, ""));
        let answer = run
            .step(line)
            .await
            .unwrap_or_else(|why| panic!("{}: {line}: {why}", entry.name));
        let Some((code, body)) = answer else {
            continue;
        };
        if silent {
            assert!(code < 400, "{}: {line}: {body}", entry.name);
            continue;
        }
        let body = normalizer.apply(body);
        let shown = if pointers.is_empty() {
            body
        } else {
            let part = |pointer: &str| {
                (
                    pointer.to_owned(),
                    body.pointer(pointer).cloned().unwrap_or_default(),
                )
            };
            Value::Object(pointers.split_whitespace().map(part).collect::<Map<_, _>>())
        };
        steps.push(json!({"do": line, "code": code, "answer": shown}));
    }
    request(
        client,
        "DELETE",
        &format!("/api/v1/namespaces/{name}"),
        "",
        Value::Null,
    )
    .await;
    format!("{:#}\n", Value::from(steps))
}

struct Run<'a> {
    client: &'a kube::Client,
    kept: Vec<(String, String)>,
    last: Value,
}

impl Run<'_> {
    async fn step(&mut self, line: &str) -> Result<Option<(u16, Value)>, String> {
        let mut line = line
            .replace("@pod", r#"{"metadata":{"name":"a"},"spec":@spec}"#)
            .replace("@spec", SPEC);
        if let Some((before, rest)) = line.split_once("@big") {
            let (size, after) = rest.split_once('@').ok_or("no size")?;
            let size = size.parse().map_err(|_| "no size")?;
            line = format!("{before}{}{after}", "x".repeat(size));
        }
        for (name, value) in &self.kept {
            line = line.replace(&format!("${name}"), value);
        }
        let (method, rest) = line.split_once(' ').ok_or("no path")?;
        let (path, body) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if method == "KEEP" {
            let value = self
                .last
                .pointer(body)
                .ok_or_else(|| format!("nothing to keep in {}", self.last))?;
            let value = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            self.kept.push((path.into(), value));
            return Ok(None);
        }
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/api/v1/namespaces/{}/{path}", self.kept[0].1),
        };
        if method == "AWAIT" {
            let waiting = self.wait(&path, body);
            tokio::time::timeout(TIMEOUT, waiting)
                .await
                .map_err(|_| "not in time".to_owned())??;
            return Ok(None);
        }
        if method == "TABLE" {
            return Ok(Some(table(self.client, &path).await));
        }
        if method == "WATCH" {
            let events = self.events(&path).await?;
            return Ok(Some((200, events.into())));
        }
        let (method, media) = match method {
            "JSONPATCH" => ("PATCH", "application/json-patch+json"),
            "MERGE" => ("PATCH", "application/merge-patch+json"),
            "STRATEGIC" => ("PATCH", "application/strategic-merge-patch+json"),
            method => (method, ""),
        };
        let (code, answer) = match serde_json::from_str(body) {
            Ok(body) => request(self.client, method, &path, media, body).await,
            // What is no JSON is sent as it is; `BIG<n>` stands for n bytes of it.
            Err(_) => {
                let big = body
                    .strip_prefix("BIG")
                    .and_then(|size| size.parse().ok())
                    .map(|size| "a".repeat(size));
                send(
                    self.client,
                    method,
                    &path,
                    media,
                    big.unwrap_or_else(|| body.into()),
                )
                .await
            }
        };
        self.last = answer.clone();
        Ok(Some((code, answer)))
    }

    /// The events of a watch that the server ends by its timeout.
    async fn events(&self, path: &str) -> Result<Vec<Value>, String> {
        let request = http::Request::get(path)
            .body(Vec::new())
            .map_err(|error| error.to_string())?;
        let stream = match self.client.request_stream(request).await {
            Ok(stream) => stream,
            Err(kube::Error::Api(status)) => {
                return Ok(vec![serde_json::to_value(status).unwrap_or_default()]);
            }
            Err(error) => return Err(error.to_string()),
        };
        let lines = tokio::time::timeout(TIMEOUT, stream.lines().try_collect::<Vec<_>>());
        let lines = lines
            .await
            .map_err(|_| "the watch does not end")?
            .map_err(|error| error.to_string())?;
        lines
            .iter()
            .map(|line| serde_json::from_str(line).map_err(|error| format!("{error} in {line}")))
            .collect()
    }

    /// Waits until the pointer's value, or the object's absence, is seen.
    async fn wait(&self, path: &str, condition: &str) -> Result<(), String> {
        let (collection, name) = path.rsplit_once('/').ok_or("no name")?;
        let (pointer, wanted) = condition.split_once(' ').unwrap_or(("", condition));
        let wanted: Option<Value> = if wanted == "gone" {
            None
        } else {
            serde_json::from_str(wanted).ok()
        };
        let met = |object: &Value| {
            wanted
                .as_ref()
                .is_some_and(|wanted| object.pointer(pointer).unwrap_or(&Value::Null) == wanted)
        };
        loop {
            let selector = format!("{collection}?fieldSelector=metadata.name%3D{name}");
            let (_, list) = request(self.client, "GET", &selector, "", Value::Null).await;
            let found = list.pointer("/items/0");
            if found.map_or(wanted.is_none(), met) {
                return Ok(());
            }
            let revision = list
                .pointer("/metadata/resourceVersion")
                .and_then(Value::as_str)
                .unwrap_or("0");
            let watch = format!("{selector}&watch=1&timeoutSeconds=30&resourceVersion={revision}");
            let watch = http::Request::get(watch)
                .body(Vec::new())
                .map_err(|error| error.to_string())?;
            let mut lines = self
                .client
                .request_stream(watch)
                .await
                .map_err(|error| error.to_string())?
                .lines();
            while let Ok(Some(line)) = lines.try_next().await {
                let event: Value =
                    serde_json::from_str(&line).map_err(|error| error.to_string())?;
                let gone = event["type"] == "DELETED";
                if (gone && wanted.is_none()) || (!gone && met(&event["object"])) {
                    return Ok(());
                }
            }
        }
    }
}
