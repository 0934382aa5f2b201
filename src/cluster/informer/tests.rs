//! Everything that can happen to a list and a watch, with a scripted API server in paused time.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{FutureExt, stream};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::*;
use crate::objects::Pod;

/// The answer to the next request.
enum Answer {
    /// Answers with a status and a body.
    Says(u16, String),
    /// Sends lines and leaves the connection open: a half-open watch.
    HangsAfter(String),
    /// Never answers.
    IsSilent,
}

/// A server that gives answers in order and records its requests.
#[derive(Clone, Default)]
struct Script(Arc<Mutex<(VecDeque<Answer>, Vec<String>)>>);

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self(Arc::new(Mutex::new((
            answers.into_iter().collect(),
            Vec::new(),
        ))))
    }

    fn asked(&self) -> Vec<String> {
        self.0.lock().unwrap().1.clone()
    }

    fn client(&self) -> Client {
        let script = self.clone();
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let next = {
                let mut script = script.0.lock().unwrap();
                script
                    .1
                    .push(request.uri().query().unwrap_or_default().to_owned());
                script.0.pop_front().unwrap_or(Answer::IsSilent)
            };
            async move {
                Ok::<_, Infallible>(match next {
                    Answer::Says(code, body) => {
                        response(code, Full::new(Bytes::from(body)).boxed())
                    }
                    Answer::HangsAfter(body) => {
                        let first = stream::iter([Ok(Frame::data(Bytes::from(body)))]);
                        response(
                            200,
                            BodyExt::boxed(StreamBody::new(first.chain(stream::pending()))),
                        )
                    }
                    Answer::IsSilent => std::future::pending().await,
                })
            }
        });
        Client::new(service, "default")
    }
}

fn response(
    code: u16,
    body: BoxBody<Bytes, Infallible>,
) -> http::Response<BoxBody<Bytes, Infallible>> {
    http::Response::builder().status(code).body(body).unwrap()
}

/// Follows until the script ends and returns the names that are left, as in an index.
async fn play(script: &Script) -> Vec<String> {
    let (sender, mut events) = mpsc::unbounded_channel();
    let selection = Selection {
        component: Component::optional("test"),
        kind: "pods",
        path: "/api/v1/pods".into(),
        labels: String::new(),
        fields: String::new(),
    };
    let following = follow::<Pod>(script.client(), selection, move |event| {
        sender.send(event).unwrap()
    });
    let mut held: BTreeMap<String, u64> = BTreeMap::new();
    // The last request of a script is never answered; paused time gets there at once.
    let over = tokio::time::sleep(Duration::from_secs(600));
    tokio::select! {
        () = following => unreachable!("an informer never ends"),
        () = over => {}
    }
    while let Some(Some(event)) = events.recv().now_or_never() {
        match event {
            Event::Item(pod) | Event::Apply(pod) => {
                _ = held.insert(pod.metadata.name.clone(), pod.metadata.version())
            }
            Event::Delete(pod) => _ = held.remove(&pod.metadata.name),
            Event::Listed { names, version } => {
                held.retain(|name, known| *known > version || names.contains(name))
            }
            Event::Alive => {}
        }
    }
    held.into_keys().collect()
}

fn pod(name: &str, version: u64) -> Value {
    json!({ "metadata": { "name": name, "uid": name, "resourceVersion": version.to_string() } })
}

fn listed(version: u64, names: &[&str]) -> Answer {
    paged(version, names, "")
}

fn paged(version: u64, names: &[&str], more: &str) -> Answer {
    let items: Vec<_> = names.iter().map(|name| pod(name, version)).collect();
    let metadata = json!({ "resourceVersion": version.to_string(), "continue": more });
    Answer::Says(
        200,
        json!({ "metadata": metadata, "items": items }).to_string(),
    )
}

fn lines(events: &[(&str, Value)]) -> String {
    let line =
        |(kind, object): &(&str, Value)| format!("{}\n", json!({ "type": kind, "object": object }));
    events.iter().map(line).collect()
}

fn watched(events: &[(&str, Value)]) -> Answer {
    Answer::Says(200, lines(events))
}

fn failure(code: u16, reason: &str) -> Value {
    json!({ "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": reason })
}

fn refuses(code: u16, reason: &str) -> Answer {
    Answer::Says(code, failure(code, reason).to_string())
}

#[tokio::test(start_paused = true)]
async fn a_list_is_read_page_by_page_and_watched_from_its_version() {
    let script = Script::new([
        paged(7, &["a"], "next"),
        listed(7, &["b"]),
        watched(&[("ADDED", pod("c", 8)), ("DELETED", pod("a", 9))]),
    ]);
    assert_eq!(play(&script).await, ["b", "c"]);
    let asked = script.asked();
    assert!(asked[1].contains("continue=next"), "{asked:?}");
    assert!(asked[2].contains("resourceVersion=7"), "{asked:?}");
    assert!(
        asked[3].contains("resourceVersion=9"),
        "a clean end goes on where it ended: {asked:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn bookmarks_move_the_version_on() {
    let bookmark =
        json!({ "kind": "Pod", "apiVersion": "v1", "metadata": { "resourceVersion": "40" } });
    let script = Script::new([listed(7, &["a"]), watched(&[("BOOKMARK", bookmark)])]);
    assert_eq!(play(&script).await, ["a"]);
    assert!(script.asked()[2].contains("resourceVersion=40"));
}

#[tokio::test(start_paused = true)]
async fn deletions_that_a_new_list_reveals_are_published() {
    for gone in [
        watched(&[("ERROR", failure(410, "Expired"))]),
        refuses(410, "Expired"),
    ] {
        let script = Script::new([listed(7, &["a", "b"]), gone, listed(20, &["b"])]);
        assert_eq!(
            play(&script).await,
            ["b"],
            "history lost as an event and as a status"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_list_that_fails_several_times_loses_no_deletion() {
    let script = Script::new([
        listed(7, &["a", "b"]),
        refuses(410, "Expired"),
        refuses(500, "InternalError"),
        paged(20, &["b"], "next"),
        refuses(410, "Expired"),
        listed(21, &["b"]),
    ]);
    assert_eq!(play(&script).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_newer_than_a_list_survives_it() {
    let script = Script::new([
        listed(7, &["a"]),
        watched(&[
            ("ADDED", pod("new", 30)),
            ("ERROR", failure(410, "Expired")),
        ]),
        listed(20, &["a"]),
    ]);
    assert_eq!(play(&script).await, ["a", "new"]);
}

#[tokio::test(start_paused = true)]
async fn a_half_open_watch_is_given_up() {
    let script = Script::new([
        listed(7, &["a"]),
        Answer::HangsAfter(lines(&[("ADDED", pod("b", 8))])),
        watched(&[("DELETED", pod("a", 9))]),
    ]);
    assert_eq!(play(&script).await, ["b"]);
    assert!(script.asked()[2].contains("resourceVersion=8"));
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_never_answered_is_asked_again() {
    let script = Script::new([Answer::IsSilent, listed(7, &["a"])]);
    assert_eq!(play(&script).await, ["a"]);
}

#[tokio::test(start_paused = true)]
async fn an_unreadable_object_spoils_only_itself() {
    let broken = json!({ "metadata": { "name": "odd", "resourceVersion": "9", "labels": [1] }, "spec": null });
    let script = Script::new([
        Answer::Says(
            200,
            json!({ "metadata": { "resourceVersion": "7" }, "items": [null, 3, broken, pod("a", 7)] }).to_string(),
        ),
        watched(&[("MODIFIED", json!({ "metadata": { "name": "a", "resourceVersion": "10", "annotations": 3 } }))]),
        watched(&[("DELETED", json!({ "metadata": { "name": "odd" }, "spec": [] }))]),
    ]);
    assert_eq!(play(&script).await, ["", "a"]);
}

#[tokio::test(start_paused = true)]
async fn garbage_on_the_wire_lists_again() {
    let script = Script::new([
        listed(7, &["a"]),
        Answer::Says(
            200,
            "{\"type\":\"ADDED\",\"object\":{\"metadata\":\u{7}}}\n".to_owned(),
        ),
        listed(9, &["b"]),
    ]);
    assert_eq!(play(&script).await, ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_cut_in_the_middle_of_a_line_goes_on() {
    let half = format!(
        "{}{}",
        lines(&[("ADDED", pod("b", 8))]),
        "{\"type\":\"ADDED\",\"obj"
    );
    let script = Script::new([
        listed(7, &["a"]),
        Answer::Says(200, half),
        watched(&[("ADDED", pod("c", 9))]),
    ]);
    assert_eq!(play(&script).await, ["a", "b", "c"]);
    assert!(script.asked()[2].contains("resourceVersion=8"));
}
