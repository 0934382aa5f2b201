//! What the embedded API server does beyond a real one: restarts, lost history, faults, access.

use std::time::Duration;

use futures::{AsyncBufReadExt as _, StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};
use wsman_sim::apiserver::faults::Fault;
use wsman_sim::apiserver::store::Store;
use wsman_sim::apiserver::{Options, Server};

use super::{TIMEOUT, client, request, send};

const SECRETS: &str = "/api/v1/namespaces/default/secrets";

async fn start(store: &Store, options: Options) -> (Server, kube::Client) {
    let server = Server::start(store.clone(), options).await.expect("start");
    let client = client(&server.kubeconfig()).await;
    (server, client)
}

async fn create(client: &kube::Client, name: &str) -> Value {
    let (code, object) = request(
        client,
        "POST",
        SECRETS,
        "",
        json!({"metadata": {"name": name}}),
    )
    .await;
    assert_eq!(code, 201, "{object}");
    object
}

fn revision(object: &Value) -> &str {
    object["metadata"]["resourceVersion"]
        .as_str()
        .expect("a resourceVersion")
}

/// The events of a watch as they come.
async fn watch(
    client: &kube::Client,
    query: &str,
) -> impl futures::Stream<Item = Value> + Unpin + use<> {
    let request = http::Request::get(format!("{SECRETS}?watch=1&{query}"))
        .body(Vec::new())
        .expect("a request");
    let lines = client
        .request_stream(request)
        .await
        .expect("a watch")
        .lines();
    // An error is the end too: a connection that was cut.
    let events = lines
        .into_stream()
        .take_while(|line| std::future::ready(line.is_ok()));
    Box::pin(events.map(|line| serde_json::from_str(&line.expect("a line")).expect("an event")))
}

async fn next(events: &mut (impl futures::Stream<Item = Value> + Unpin)) -> Option<Value> {
    tokio::time::timeout(TIMEOUT, events.next())
        .await
        .expect("an event in time")
}

#[tokio::test]
async fn a_restart_keeps_history_and_cuts_watches() {
    let store = Store::new();
    let (server, client) = start(&store, Options::default()).await;
    let first = create(&client, "a").await;
    let mut events = watch(&client, &format!("resourceVersion={}", revision(&first))).await;
    create(&client, "b").await;
    assert_eq!(
        next(&mut events).await.expect("an event")["object"]["metadata"]["name"],
        "b"
    );
    let listen = server.addr();
    server.stop().await;
    assert_eq!(
        next(&mut events).await,
        None,
        "the watch goes on after the server has stopped"
    );
    let (server, client) = start(
        &store,
        Options {
            listen,
            ..Options::default()
        },
    )
    .await;
    assert_eq!(server.addr(), listen);
    let mut events = watch(&client, &format!("resourceVersion={}", revision(&first))).await;
    assert_eq!(
        next(&mut events).await.expect("an event")["object"]["metadata"]["name"],
        "b"
    );
    server.stop().await;
}

#[tokio::test]
async fn lost_history_is_answered_with_410() {
    let store = Store::new();
    let (server, client) = start(&store, Options::default()).await;
    let first = create(&client, "a").await;
    create(&client, "b").await;
    let (_, page) = request(
        &client,
        "GET",
        &format!("{SECRETS}?limit=1"),
        "",
        Value::Null,
    )
    .await;
    let token = page["metadata"]["continue"]
        .as_str()
        .expect("a token")
        .to_owned();
    create(&client, "c").await;
    store.compact();

    let mut events = watch(&client, &format!("resourceVersion={}", revision(&first))).await;
    let event = next(&mut events).await.expect("an event");
    assert_eq!(
        (&event["type"], &event["object"]["code"]),
        (&json!("ERROR"), &json!(410)),
        "{event}"
    );
    assert_eq!(event["object"]["reason"], "Expired");
    assert_eq!(next(&mut events).await, None);

    let exact = format!(
        "{SECRETS}?resourceVersionMatch=Exact&resourceVersion={}",
        revision(&first)
    );
    let (code, answer) = request(&client, "GET", &exact, "", Value::Null).await;
    assert_eq!((code, &answer["reason"]), (410, &json!("Expired")));

    let (code, answer) = request(
        &client,
        "GET",
        &format!("{SECRETS}?limit=1&continue={token}"),
        "",
        Value::Null,
    )
    .await;
    assert_eq!((code, &answer["reason"]), (410, &json!("Expired")));
    // The answer says how to go on without consistency.
    let token = answer["metadata"]["continue"].as_str().expect("a token");
    let (code, rest) = request(
        &client,
        "GET",
        &format!("{SECRETS}?continue={token}"),
        "",
        Value::Null,
    )
    .await;
    let names: Vec<_> = rest["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| &item["metadata"]["name"])
        .collect();
    assert_eq!((code, names), (200, vec![&json!("b"), &json!("c")]));
    server.stop().await;

    // A new store is empty: the versions of an old one are too old for it.
    let (server, client) = start(&Store::new(), Options::default()).await;
    let mut events = watch(&client, &format!("resourceVersion={}", revision(&first))).await;
    assert_eq!(
        next(&mut events).await.expect("an event")["object"]["code"],
        410
    );
    server.stop().await;
}

#[tokio::test]
async fn a_watcher_that_does_not_read_delays_no_other() {
    let (server, client) = start(
        &Store::new(),
        Options {
            history: 100,
            ..Options::default()
        },
    )
    .await;
    let first = create(&client, "first").await;
    let mut stalled = watch(&client, &format!("resourceVersion={}", revision(&first))).await;
    let big = "x".repeat(100_000);
    let write = async {
        for n in 0..300 {
            let patch = json!({"metadata": {"annotations": {"n": format!("{n} {big}")}}});
            let (code, _) = request(
                &client,
                "PATCH",
                &format!("{SECRETS}/first"),
                "application/merge-patch+json",
                patch,
            )
            .await;
            assert_eq!(code, 200);
        }
    };
    tokio::time::timeout(TIMEOUT, write)
        .await
        .expect("writes are held up by a watcher");
    let mut last = Value::Null;
    while let Some(event) = next(&mut stalled).await {
        last = event;
    }
    assert_eq!(
        last["object"]["code"], 410,
        "it fell behind the history that is kept"
    );
    server.stop().await;
}

#[tokio::test]
async fn faults_strike_as_injected() {
    let (server, client) = start(&Store::new(), Options::default()).await;
    let faults = server.faults();
    faults.record();
    let message = "slow down".to_owned();
    let fault = Fault::Status {
        code: 429,
        reason: "TooManyRequests".into(),
        message,
        retry_after: Some(7),
    };
    faults.add("POST", "/secrets", 1, fault);
    let (code, answer) = request(
        &client,
        "POST",
        SECRETS,
        "",
        json!({"metadata": {"name": "a"}}),
    )
    .await;
    assert_eq!(
        (code, &answer["details"]["retryAfterSeconds"]),
        (429, &json!(7))
    );

    faults.add("POST", "/secrets", 1, Fault::CutAfter);
    let cut = http::Request::post(SECRETS).header("content-type", "application/json");
    let cut = cut
        .body(json!({"metadata": {"name": "a"}}).to_string().into_bytes())
        .expect("a request");
    client
        .request_text(cut)
        .await
        .expect_err("the connection is cut");
    let (code, _) = request(&client, "GET", &format!("{SECRETS}/a"), "", Value::Null).await;
    assert_eq!(code, 200, "the write was stored");

    faults.add("DELETE", "", 1, Fault::CutBefore);
    let cut = http::Request::delete(format!("{SECRETS}/a"))
        .body(Vec::new())
        .expect("a request");
    client
        .request_text(cut)
        .await
        .expect_err("the connection is cut");
    let (code, _) = request(&client, "GET", &format!("{SECRETS}/a"), "", Value::Null).await;
    assert_eq!(code, 200, "nothing was deleted");

    faults.add("GET", "watch=1", 1, Fault::Gone);
    let (code, _) = request(
        &client,
        "GET",
        &format!("{SECRETS}?watch=1"),
        "",
        Value::Null,
    )
    .await;
    assert_eq!(code, 410);

    faults.add("GET", "", 1, Fault::Delay(Duration::from_millis(1)));
    faults.add("GET", "/nowhere", 1, Fault::Hang);
    let (code, _) = request(&client, "GET", SECRETS, "", Value::Null).await;
    assert_eq!(code, 200);

    let mut events = watch(&client, "timeoutSeconds=600").await;
    assert_eq!(next(&mut events).await.expect("an event")["type"], "ADDED");
    faults.end_watches();
    assert_eq!(next(&mut events).await, None);

    let writes = faults
        .requests()
        .into_iter()
        .filter(wsman_sim::apiserver::faults::Request::is_write);
    let writes: Vec<_> = writes
        .map(|one| format!("{} {}", one.method, one.path))
        .collect();
    assert_eq!(
        writes,
        [
            format!("POST {SECRETS}"),
            format!("POST {SECRETS}"),
            format!("DELETE {SECRETS}/a")
        ]
    );
    server.stop().await;
}

#[tokio::test]
async fn only_the_token_opens() {
    let (server, _) = start(
        &Store::new(),
        Options {
            token: "right".into(),
            ..Options::default()
        },
    )
    .await;
    let code = async |path: &str, token: &str| {
        let kubeconfig = server
            .kubeconfig()
            .replace("/as/right", "")
            .replace("\"right\"", &format!("{token:?}"));
        let client = client(&kubeconfig).await;
        request(&client, "GET", path, "", Value::Null).await.0
    };
    assert_eq!(code(SECRETS, "right").await, 200);
    assert_eq!(code(SECRETS, "wrong").await, 401);
    assert_eq!(code("/as/right/api/v1/nodes", "wrong").await, 200);
    assert_eq!(code("/as/rightish/api/v1/nodes", "wrong").await, 401);
    assert_eq!(code("/readyz", "wrong").await, 200);
    assert_eq!(code("/version", "wrong").await, 200);
    server.stop().await;
    let listen = "0.0.0.0:0".parse().expect("an address");
    assert!(
        Server::start(
            Store::new(),
            Options {
                listen,
                ..Options::default()
            }
        )
        .await
        .is_err()
    );
}

/// Bodies of every wrong shape are answered, and the server lives on.
#[tokio::test]
async fn hostile_input_is_answered() {
    let (server, client) = start(&Store::new(), Options::default()).await;
    let shapes = [
        "",
        "{",
        "null",
        "[]",
        "[[[",
        "1",
        "-1e999",
        "\"\\ud800\"",
        "true",
        "{\"metadata\":null}",
    ];
    let wrong = [
        "null",
        "1",
        "[]",
        "[null]",
        "{}",
        "\"x\"",
        "true",
        "[{}]",
        "{\"\":null}",
        "[[1]]",
        "1e400",
    ];
    let fields = [
        "metadata",
        "spec",
        "status",
        "data",
        "stringData",
        "type",
        "kind",
        "apiVersion",
        "immutable",
    ];
    let inner = [
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "containers",
        "volumes",
        "ports",
        "conditions",
    ];
    let mut bodies: Vec<String> = shapes.iter().map(|&shape| shape.to_owned()).collect();
    for value in wrong {
        bodies.extend(
            fields.map(|field| format!(r#"{{"metadata":{{"name":"a"}},"{field}":{value}}}"#)),
        );
        bodies.extend(inner.map(|field| {
            format!(
                r#"{{"metadata":{{"name":"a","{field}":{value}}},"spec":{{"{field}":{value}}}}}"#
            )
        }));
        bodies.push(format!(
            r#"{{"spec":{{"containers":[{value}],"volumes":[{value}],"$patch":{value}}}}}"#
        ));
        bodies.push(format!(
            r#"{{"metadata":{{"$setElementOrder/finalizers":{value},"$retainKeys":{value}}}}}"#
        ));
        bodies.push(format!(
            r#"{{"gracePeriodSeconds":{value},"preconditions":{value},"target":{value}}}"#
        ));
        bodies.push(format!(
            r#"[{{"op":"add","path":"/metadata/labels","value":{value}}}]"#
        ));
    }
    let pods = "/api/v1/namespaces/default/pods";
    let pod =
        json!({"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    for body in &bodies {
        request(&client, "POST", pods, "", pod.clone()).await;
        for resource in ["pods", "services", "secrets", "configmaps", "events"] {
            send(
                &client,
                "POST",
                &format!("/api/v1/namespaces/default/{resource}"),
                "",
                body.clone(),
            )
            .await;
        }
        for media in [
            "json-patch",
            "merge-patch",
            "strategic-merge-patch",
            "apply-patch",
        ] {
            let media = format!("application/{media}+json");
            for path in ["pods/a", "pods/a/status", "services/a", "secrets/a"] {
                send(
                    &client,
                    "PATCH",
                    &format!("/api/v1/namespaces/default/{path}"),
                    &media,
                    body.clone(),
                )
                .await;
            }
        }
        for (method, path) in [
            ("PUT", "pods/a"),
            ("POST", "pods/a/binding"),
            ("POST", "pods/a/eviction"),
            ("DELETE", "pods/a"),
        ] {
            let (code, _) = send(
                &client,
                method,
                &format!("/api/v1/namespaces/default/{path}"),
                "",
                body.clone(),
            )
            .await;
            assert!((200..=504).contains(&code));
        }
    }
    for query in [
        "limit=-1",
        "limit=99999999999999999999",
        "continue=%ff",
        "labelSelector=%",
        "fieldSelector=%3D",
        "timeoutSeconds=-1",
        "resourceVersion=-1",
        "dryRun=x",
        "labelSelector=a+in+(",
        "labelSelector=,,",
        "watch=2",
    ] {
        let (code, answer) =
            request(&client, "GET", &format!("{pods}?{query}"), "", Value::Null).await;
        assert!(matches!(code, 200 | 400), "{query}: {answer}");
    }
    let (code, _) = request(&client, "GET", pods, "", Value::Null).await;
    assert_eq!(code, 200);
    server.stop().await;
}
