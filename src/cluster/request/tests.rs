//! Backoff between attempts, in paused time, against the embedded API server.

mod writes;

use wsman_sim::apiserver::faults::Fault;
use wsman_sim::apiserver::store::Store;
use wsman_sim::apiserver::{Options, Server};

use super::*;
use crate::cluster::connect::{AGENT, Source, connect};

const PODS: &str = "/api/v1/namespaces/default/pods";
const MINUTE: Duration = Duration::from_secs(60);

struct Api {
    server: Server,
    client: Client,
}

impl Api {
    async fn start() -> Self {
        let options = Options {
            listen: "127.0.0.1:0".parse().unwrap(),
            token: "a-token-of-the-tests".to_owned(),
            history: 1000,
            ..Options::default()
        };
        let server = Server::start(Store::new(), options).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
        let client = connect(Source::Kubeconfig(&kubeconfig), AGENT).await;
        let client = Client::new(client.unwrap());
        server.faults().record();
        Self { server, client }
    }

    fn answer(&self, times: usize, fault: Fault) {
        self.server.faults().add("GET", PODS, times, fault);
    }

    /// Lists the pods with a deadline; returns the result, the time and the number of requests.
    async fn ask(&self, within: Duration) -> (Result<String, Error>, Duration, usize) {
        let request = Request {
            method: Method::GET,
            path: PODS,
            content_type: "application/json",
            body: Vec::new(),
        };
        let before = self.server.faults().requests().len();
        let begun = Instant::now();
        let outcome = send(&self.client, &request, begun + within).await;
        let outcome = outcome.map_err(|failure| failure.into_error("listing pods"));
        let requests = self.server.faults().requests().len() - before;
        (outcome, begun.elapsed(), requests)
    }
}

fn text(code: u16, headers: Vec<(&'static str, String)>) -> Fault {
    let body = "Too many requests, please try again later.\n";
    Fault::Text {
        code,
        headers,
        body,
    }
}

fn status(code: u16, reason: &str, message: &str) -> Fault {
    Fault::Status {
        code,
        reason: reason.to_owned(),
        message: message.to_owned(),
        retry_after: None,
    }
}

#[tokio::test(start_paused = true)]
async fn the_pause_of_a_header_is_kept_each_time() {
    let api = Api::start().await;
    for code in [429, 503] {
        api.answer(3, text(code, vec![("retry-after", "5".to_owned())]));
        let (outcome, took, requests) = api.ask(MINUTE).await;
        assert!(outcome.is_ok(), "{outcome:?}");
        let wanted = Duration::from_secs(15)..Duration::from_secs(18);
        assert!(wanted.contains(&took), "{took:?}");
        assert_eq!(requests, 4);
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_may_be_a_date() {
    let api = Api::start().await;
    let date = |seconds: &str| format!("Wed, 21 Oct 2015 07:28:{seconds} GMT");
    // By the server's clock, which is years behind.
    let headers = vec![("date", date("00")), ("retry-after", date("05"))];
    api.answer(3, text(429, headers));
    let (outcome, took, requests) = api.ask(MINUTE).await;
    assert!(outcome.is_ok(), "{outcome:?}");
    assert!(took >= Duration::from_secs(15), "{took:?}");
    assert_eq!(requests, 4);
}

#[tokio::test(start_paused = true)]
async fn a_pause_beyond_the_deadline_ends_the_call_at_once_with_its_cause() {
    let api = Api::start().await;
    api.answer(
        usize::MAX,
        text(429, vec![("retry-after", "30".to_owned())]),
    );
    let (outcome, took, requests) = api.ask(Duration::from_secs(20)).await;
    let error = outcome.unwrap_err();
    assert_eq!(
        error.to_string(),
        "listing pods: the answer is 429 Too Many Requests: Too many requests, please try again later."
    );
    assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
    assert!(took < Duration::from_secs(1), "{took:?}");
    assert_eq!(requests, 1);
}

#[tokio::test(start_paused = true)]
async fn what_may_never_change_is_tried_with_pauses_for_a_few_seconds() {
    let api = Api::start().await;
    for message in [
        "admission webhook \"pods.example.com\" denied the request: come back later",
        "Operation cannot be fulfilled",
    ] {
        api.answer(usize::MAX, status(409, "", message));
        let (outcome, took, requests) = api.ask(MINUTE).await;
        let error = outcome.unwrap_err();
        assert_eq!(error.to_string(), format!("listing pods: {message}"));
        assert!(matches!(error, Error::Contended { .. }), "{error:?}");
        let wanted = Duration::from_secs(1)..BRIEFLY + Duration::from_secs(1);
        assert!(wanted.contains(&took), "{took:?}");
        assert!((4..12).contains(&requests), "{requests}");
        api.server.faults().clear();
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_end_the_same_way_is_not_repeated() {
    let api = Api::start().await;
    for (code, reason) in [
        (400, "BadRequest"),
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "NotFound"),
        (409, "Conflict"),
        (422, "Invalid"),
    ] {
        api.answer(1, status(code, reason, "no"));
        let (outcome, _, requests) = api.ask(MINUTE).await;
        assert!(outcome.is_err());
        assert_eq!(requests, 1, "{code}");
    }
}
