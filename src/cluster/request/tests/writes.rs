//! Writes of unknown outcome, and writes to an overloaded server, against the embedded API server.

use futures::future::{join, join_all};
use serde_json::{Value, json};

use super::*;
use crate::window::FIRST;

const SECRETS: &str = "/api/v1/namespaces/default/secrets";
const SECRET: &str = "/api/v1/namespaces/default/secrets/s";
const MINUTE: Duration = Duration::from_secs(60);

impl Api {
    async fn write(
        &self,
        method: Method,
        path: &str,
        kind: &'static str,
        body: &Value,
    ) -> Result<Value, Failure> {
        let request = Request {
            method,
            path,
            content_type: kind,
            body: body.to_string().into_bytes(),
        };
        let text = send(&self.client, &request, Instant::now() + MINUTE).await?;
        Ok(serde_json::from_str(&text).unwrap())
    }

    async fn create(&self, name: &str) -> Result<Value, Failure> {
        let secret = json!({ "metadata": { "name": name, "finalizers": ["wsman.dev/test"] } });
        self.write(Method::POST, SECRETS, JSON, &secret).await
    }

    async fn patch(&self, path: &str, patch: &Value) -> Result<Value, Failure> {
        self.write(Method::PATCH, path, MERGE, patch).await
    }

    /// Injects a fault into the next writes and starts a new record.
    fn spoil(&self, method: &str, times: usize, fault: Fault) {
        self.server.faults().add(method, SECRETS, times, fault);
        self.server.faults().record();
    }

    fn methods(&self) -> Vec<String> {
        let requests = self.server.faults().requests();
        requests.into_iter().map(|request| request.method).collect()
    }
}

fn uid(object: &Value) -> &str {
    object["metadata"]["uid"].as_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_done_without_an_answer_is_found_and_not_repeated() {
    let api = Api::start().await;
    api.spoil("POST", 1, Fault::CutAfter);
    let failed = api.create("s").await.map_err(|failure| failure.is_exists());
    assert_eq!(failed, Err(true));
    assert_eq!(api.methods(), ["POST", "GET"]);

    let patch = json!({ "metadata": { "annotations": { "a": "1" } } });
    api.spoil("PATCH", 1, Fault::CutAfter);
    let patched = api.patch(SECRET, &patch).await.ok().unwrap();
    assert_eq!(patched["metadata"]["annotations"]["a"], "1");
    assert_eq!(api.methods(), ["PATCH", "GET"]);

    let options = json!({ "preconditions": { "uid": uid(&patched) } });
    let delete = || api.write(Method::DELETE, SECRET, JSON, &options);
    api.spoil("DELETE", 1, Fault::CutAfter);
    let left = delete().await.ok().unwrap();
    assert!(left["metadata"]["deletionTimestamp"].is_string(), "{left}");
    assert_eq!(api.methods(), ["DELETE", "GET"]);

    // This removes the rest.
    let release = json!({ "metadata": { "finalizers": null } });
    api.spoil("PATCH", 1, Fault::CutAfter);
    let gone = api.patch(SECRET, &release).await;
    assert!(gone.is_err_and(|failure| failure.is_gone()));
    assert_eq!(api.methods(), ["PATCH", "GET"]);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_was_not_done_is_looked_up_once_and_repeated() {
    let api = Api::start().await;
    let failing = || status(500, "InternalError", "etcdserver: request timed out");
    for (name, fault) in [
        ("cut", Fault::CutBefore),
        ("silent", Fault::Hang),
        ("failing", failing()),
        ("late", status(504, "Timeout", "too slow")),
    ] {
        api.spoil("POST", 1, fault);
        let made = api.create(name).await.ok().unwrap();
        assert_eq!(made["metadata"]["name"], name);
        assert_eq!(api.methods(), ["POST", "GET", "POST"], "{name}");
    }
    // While the server does not answer, the read is retried, not the write.
    api.spoil("POST", 1, Fault::CutAfter);
    api.server.faults().add("GET", SECRETS, 2, failing());
    assert!(api.create("s").await.is_err());
    assert_eq!(api.methods(), ["POST", "GET", "GET", "GET"]);
    // Without the right to read, the write is retried; its preconditions make that harmless.
    api.spoil("POST", 1, Fault::CutBefore);
    let no = status(403, "Forbidden", "no");
    api.server.faults().add("GET", SECRETS, 1, no);
    assert!(api.create("unseen").await.is_ok());
    assert_eq!(api.methods(), ["POST", "GET", "POST"]);
    // These errors leave no doubt.
    for (name, fault) in [
        ("busy", status(429, "TooManyRequests", "later")),
        ("away", status(503, "ServiceUnavailable", "starting")),
    ] {
        api.spoil("POST", 1, fault);
        assert!(api.create(name).await.is_ok());
        assert_eq!(api.methods(), ["POST", "POST"], "{name}");
    }
}

#[tokio::test]
async fn a_server_that_is_busy_gets_fewer_writes_at_once() {
    let api = Api::start().await;
    let empty = json!({});
    let most = async || {
        api.spoil("PATCH", 200, Fault::Delay(Duration::from_millis(200)));
        let writes = (0..200).map(|_| api.patch(SECRET, &empty));
        join_all(writes).await;
        api.server.faults().most_writes_at_once()
    };
    let before = most().await;
    assert!((FIRST..3 * FIRST).contains(&before), "{before}");
    api.spoil("PATCH", 1, status(429, "TooManyRequests", "slow down"));
    let _ = api.patch(SECRET, &empty).await;
    let after = most().await;
    assert!((4..before * 3 / 4).contains(&after), "{after}");
}

#[tokio::test]
async fn starts_overtake_repairs() {
    let api = Api::start().await;
    api.spoil("PATCH", 300, Fault::Delay(Duration::from_millis(100)));
    let empty = json!({});
    let repairs = (0..300).map(|_| api.patch(SECRET, &empty));
    let names: Vec<_> = (0..6).map(|n| format!("start-{n}")).collect();
    let starts = names.iter().map(|name| api.create(name));
    let (_, starts) = join(join_all(repairs), join_all(starts)).await;
    assert!(starts.iter().all(Result::is_ok));
    let methods = api.methods();
    assert_eq!(methods.len(), 306);
    let last = methods.iter().rposition(|method| method == "POST");
    // In the second round at the latest, which is twice as large.
    assert!(last.is_some_and(|last| last < 3 * FIRST), "{last:?}");
}
