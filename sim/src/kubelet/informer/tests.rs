//! How a watch ends and continues, with a scripted API server in paused time.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use serde_json::{Value, json};

use super::*;

fn keyed(name: &str) -> (ObjectRef<Pod>, Pod) {
    let mut pod = Pod::default();
    pod.metadata.name = Some(name.to_owned());
    (ObjectRef::from_obj(&pod), pod)
}

fn name(change: Change<Pod>) -> String {
    match change {
        Change::Apply(pod) => format!("apply {}", pod.metadata.name.unwrap()),
        Change::Delete(key) => format!("delete {}", key.name),
        Change::Synced => "synced".to_owned(),
    }
}

#[test]
fn a_relist_shows_what_was_deleted_unseen() {
    let mut known = ["kept", "lost"].map(|name| keyed(name).0).into();
    let listed = ["kept", "new"].map(keyed).into();
    let mut names: Vec<_> = swap(&mut known, listed).into_iter().map(name).collect();
    names[1..3].sort();
    assert_eq!(names, ["delete lost", "apply kept", "apply new", "synced"]);
    assert_eq!(known, ["kept", "new"].map(|name| keyed(name).0).into());
}

/// The answer to the next request.
enum Answer {
    /// A status and a body.
    Respond(u16, String),
    /// Events, and a clean end after this many seconds of silence.
    Watch(u64, String),
    /// No answer at all.
    Hang,
}

/// The second and the query of each request.
type Asked = Vec<(u64, String)>;

/// A server that gives answers in order, and records its requests.
#[derive(Clone)]
struct Script(Arc<Mutex<(VecDeque<Answer>, Asked)>>);

impl Script {
    fn new(answers: impl IntoIterator<Item = Answer>) -> Self {
        let answers = answers.into_iter().collect();
        Self(Arc::new(Mutex::new((answers, Vec::new()))))
    }

    fn client(&self) -> Client {
        let (script, start) = (self.clone(), Instant::now());
        let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
            let query = request.uri().query().unwrap_or_default().to_owned();
            let next = {
                let mut script = script.0.lock().unwrap();
                script.1.push((start.elapsed().as_secs(), query));
                script.0.pop_front().unwrap_or(Answer::Hang)
            };
            async move {
                let (code, body): (_, UnsyncBoxBody<Bytes, Infallible>) = match next {
                    Answer::Respond(code, body) => (code, Full::from(body).boxed_unsync()),
                    Answer::Watch(seconds, events) => {
                        let events = stream::iter([Ok(Frame::data(Bytes::from(events)))]);
                        let silence = tokio::time::sleep(Duration::from_secs(seconds));
                        let end = stream::once(silence).filter_map(|()| std::future::ready(None));
                        (200, StreamBody::new(events.chain(end)).boxed_unsync())
                    }
                    Answer::Hang => std::future::pending().await,
                };
                let response = http::Response::builder().status(code);
                Ok::<_, Infallible>(response.body(body).unwrap())
            }
        });
        Client::new(service, "default")
    }

    /// Watches until `seconds` have passed; returns the changes and the requests with their times.
    async fn play(self, seconds: u64) -> (Vec<String>, Asked) {
        let changes = watch::<Pod>(Api::all(self.client()));
        let over = tokio::time::sleep(Duration::from_secs(seconds));
        let changes = changes.map(name).take_until(over).collect().await;
        let asked = std::mem::take(&mut self.0.lock().unwrap().1);
        (changes, asked)
    }
}

fn list(version: &str, names: &[&str]) -> Answer {
    let items: Vec<_> = names.iter().map(|name| pod(name, version)).collect();
    let list = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": version}, "items": items});
    Answer::Respond(200, list.to_string())
}

fn pod(name: &str, version: &str) -> Value {
    json!({"metadata": {"name": name, "resourceVersion": version}})
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn from(version: u64) -> impl Fn(&(u64, String)) -> bool {
    move |(_, query)| query.ends_with(&format!("resourceVersion={version}"))
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_ends_in_peace_is_resumed_at_once_however_often() {
    let quiet = || Answer::Watch(30, String::new());
    let script = Script::new([
        list("7", &["a"]),
        quiet(),
        quiet(),
        quiet(),
        quiet(),
        Answer::Watch(30, event("ADDED", &pod("b", "9"))),
    ]);
    let (changes, asked) = script.play(160).await;
    assert_eq!(changes, ["apply a", "synced", "apply b"]);
    let at: Vec<_> = asked.iter().map(|(second, _)| *second).collect();
    assert_eq!(at, [0, 0, 30, 60, 90, 120, 150]);
    assert!(asked[1..6].iter().all(from(7)), "{asked:?}");
    assert!(from(9)(&asked[6]), "{asked:?}");
    assert!(asked[1].1.contains("timeoutSeconds=30"), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_and_a_peaceful_end_forgets_them() {
    let failing = || Answer::Respond(503, "{}".to_owned());
    let script = Script::new([
        list("7", &[]),
        failing(),
        failing(),
        failing(),
        failing(),
        Answer::Watch(30, String::new()),
        failing(),
        Answer::Watch(30, String::new()),
    ]);
    let (_, asked) = script.play(60).await;
    let at: Vec<_> = asked.iter().map(|(second, _)| *second).collect();
    // 0.1 + 0.2 + 0.4 + 0.8 s of backoff, then 30 s of watch and one backoff of 0.1 s again.
    assert_eq!(at, [0, 0, 0, 0, 0, 1, 31, 31]);
    assert!(asked[1..].iter().all(from(7)), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn lost_history_lists_again_at_once_and_reports_what_is_gone() {
    let expired = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 410, "reason": "Expired"});
    let script = Script::new([
        list("7", &["a", "b"]),
        Answer::Watch(30, event("ERROR", &expired)),
        list("20", &["b"]),
        Answer::Respond(410, expired.to_string()),
        list("30", &[]),
    ]);
    let (changes, asked) = script.play(10).await;
    assert_eq!(
        changes[2..],
        [
            "synced", "delete a", "apply b", "synced", "delete b", "synced"
        ]
    );
    assert!(asked.iter().all(|(second, _)| *second == 0), "{asked:?}");
    assert!(from(30)(&asked[5]), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_died_silently_is_noticed() {
    let script = Script::new([list("7", &["a"]), Answer::Watch(3600, String::new())]);
    let (_, asked) = script.play(60).await;
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[2].0, 35);
}
