//! Logs of sessions, from before their pods start to after their end.

use k8s_openapi::api::core::v1::Pod;
use serde_json::json;
use tonic::{Code, Streaming};
use wsman::proto::wsman::sessions::v1::*;
use wsman_sim::apiserver::faults::Fault;

use crate::sessions::gang::*;
use crate::support::cluster::{self, Cluster};
use crate::support::world::TIMEOUT;

const TWO: [(&str, &str, &str); 2] = [("driver", "driver", "d"), ("server", "server", "w")];

/// Starts a session whose components write three lines each; the driver ends when it is scripted to.
async fn begin(cluster: &Cluster, gang: &Gang, id: &str) {
    let mut of = request(cluster, id, &TWO);
    of = script(of, "driver", &[("logs", "d1\nd2\nd3")]);
    of = script(of, "server", &[("logs", "s1\ns2\ns3")]);
    gang.begin(of).await.unwrap();
}

async fn open(gang: &Gang, request: LogsRequest) -> Streaming<LogsResponse> {
    gang.client
        .clone()
        .logs(request)
        .await
        .unwrap()
        .into_inner()
}

fn of(id: &str) -> LogsRequest {
    LogsRequest {
        id: id.to_owned(),
        ..LogsRequest::default()
    }
}

/// Reads so many messages; to the end, without a number.
async fn read(stream: &mut Streaming<LogsResponse>, count: Option<usize>) -> Vec<LogsResponse> {
    let mut found = Vec::new();
    let reading = async {
        while count.is_none_or(|count| found.len() < count) {
            match stream.message().await.unwrap() {
                Some(message) => found.push(message),
                None => break,
            }
        }
    };
    let read = tokio::time::timeout(TIMEOUT, reading).await;
    assert!(read.is_ok(), "after {found:?}");
    found
}

/// The texts of one component.
fn texts<'a>(messages: &'a [LogsResponse], component: &str) -> Vec<&'a str> {
    let of = messages
        .iter()
        .filter(|message| message.position.as_ref().unwrap().component == component);
    of.map(|message| message.text.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c11_51_logs_follow_from_before_the_start_to_the_end_and_resume_anywhere() {
    let cluster = cluster::embedded().await;
    machines(&cluster, "d", 1).await;
    let gang = Gang::start(&cluster).await;
    machines(&cluster, "w", 1).await;
    begin(&cluster, &gang, "s").await;
    let mut stream = open(
        &gang,
        LogsRequest {
            follow: true,
            ..of("s")
        },
    )
    .await;
    gang.until_phase("s", Phase::Running).await;
    let running = read(&mut stream, Some(6)).await;
    assert_eq!(texts(&running, "driver"), ["d1", "d2", "d3"]);
    assert_eq!(texts(&running, "server"), ["s1", "s2", "s3"]);

    // As it is now, and some lines of it.
    let now = read(&mut open(&gang, of("s")).await, None).await;
    assert_eq!(now.len(), 6);
    let tail = LogsRequest {
        tail: 1,
        components: vec!["driver".to_owned()],
        ..of("s")
    };
    let tail = read(&mut open(&gang, tail).await, None).await;
    assert_eq!(texts(&tail, "driver"), ["d3"]);
    assert_eq!(
        tail[0].position.as_ref().unwrap().ordinal,
        2,
        "lines of the same time count"
    );

    cluster.script("s", json!({"exit-after": "1ms"})).await;
    gang.until_phase("s", Phase::Succeeded).await;
    assert_eq!(
        read(&mut stream, None).await,
        [],
        "it ends with the containers"
    );

    // From any line on there is neither gap nor repeat.
    let all = read(&mut open(&gang, of("s")).await, None).await;
    assert_eq!(all.len(), 6);
    for message in &all {
        let position = message.position.clone().unwrap();
        let component = position.component.clone();
        let known = usize::try_from(position.ordinal).unwrap() + 1;
        let after = LogsRequest {
            components: vec![component.clone()],
            after: vec![position],
            ..of("s")
        };
        let rest = read(&mut open(&gang, after).await, None).await;
        assert_eq!(texts(&rest, &component), texts(&all, &component)[known..]);
        assert!(rest.iter().all(|message| !message.gap));
    }
    let mut gone = all[0].position.clone().unwrap();
    gone.time.as_mut().unwrap().seconds -= 60;
    let component = gone.component.clone();
    let after = LogsRequest {
        components: vec![component],
        after: vec![gone],
        ..of("s")
    };
    let rest = read(&mut open(&gang, after).await, None).await;
    let gaps: Vec<bool> = rest.iter().map(|message| message.gap).collect();
    assert_eq!(gaps, [true, false, false]);
    gang.world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_never_starts_has_no_log_and_ends_with_its_session() {
    let cluster = cluster::embedded().await;
    machines(&cluster, "d", 1).await;
    machines(&cluster, "w", 1).await;
    let gang = Gang::start(&cluster).await;
    begin(&cluster, &gang, "blocks").await;
    begin(&cluster, &gang, "waits").await;
    assert_eq!(read(&mut open(&gang, of("waits")).await, None).await, []);
    let mut stream = open(
        &gang,
        LogsRequest {
            follow: true,
            ..of("waits")
        },
    )
    .await;
    gang.stop("waits").await.unwrap();
    assert_eq!(read(&mut stream, None).await, []);
    gang.world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_logs_of_a_node_that_is_not_ready_for_them_are_waited_for() {
    let cluster = cluster::embedded().await;
    machines(&cluster, "d", 1).await;
    machines(&cluster, "w", 1).await;
    let gang = Gang::start(&cluster).await;
    begin(&cluster, &gang, "young").await;
    gang.until_phase("young", Phase::Running).await;
    let faults = cluster.server.as_ref().unwrap().faults();
    let failing = |code, message: &str| Fault::Status {
        code,
        reason: "InternalError".to_owned(),
        message: message.to_owned(),
        retry_after: None,
    };
    let tls =
        "Get \"https://10.0.0.1:10250/containerLogs/a/b/main\": remote error: tls: internal error";
    for fault in [
        failing(500, tls),
        failing(502, "dial tcp 10.0.0.1:10250: connect: connection refused"),
        Fault::CutBefore,
        Fault::CutAfter,
    ] {
        faults.add("GET", "/pods/young/log", 2, fault);
    }
    let read = read(&mut open(&gang, of("young")).await, None).await;
    assert_eq!(texts(&read, "driver"), ["d1", "d2", "d3"]);
    // What is refused is no matter of time.
    let refused = Fault::Status {
        code: 403,
        reason: "Forbidden".to_owned(),
        message: "cannot get resource \"pods/log\"".to_owned(),
        retry_after: None,
    };
    faults.add("GET", "/pods/young/log", 1, refused);
    let driver = LogsRequest {
        components: vec!["driver".to_owned()],
        ..of("young")
    };
    let error = open(&gang, driver).await.message().await.unwrap_err();
    assert_eq!(error.code(), Code::PermissionDenied);
    assert!(error.message().contains("pods/log"), "{error}");
    gang.world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c11_52_a_client_that_is_gone_frees_its_stream_and_a_drain_ends_the_others() {
    let cluster = cluster::embedded().await;
    machines(&cluster, "d", 1).await;
    machines(&cluster, "w", 1).await;
    let gang = Gang::start(&cluster).await;
    begin(&cluster, &gang, "s").await;
    let follow = LogsRequest {
        follow: true,
        ..of("s")
    };
    let mut gone = open(&gang, follow.clone()).await;
    let mut stays = open(&gang, follow).await;
    read(&mut gone, Some(6)).await;
    read(&mut stays, Some(6)).await;
    gang.world.streams(2).await;
    drop(gone);
    gang.world.streams(1).await;
    let drained = tokio::spawn(gang.world.drain());
    assert_eq!(
        read(&mut stays, None).await,
        [],
        "the stream ends without an error"
    );
    drop((stays, gang.client));
    drained.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_that_there_are_not_are_named() {
    let cluster = cluster::embedded().await;
    machines(&cluster, "d", 1).await;
    machines(&cluster, "w", 1).await;
    let gang = Gang::start(&cluster).await;
    begin(&cluster, &gang, "s").await;
    let refused = async |request| {
        let error = gang.client.clone().logs(request).await.unwrap_err();
        (error.code(), error.message().to_owned())
    };
    let (code, text) = refused(of("none")).await;
    assert_eq!(
        (code, text.as_str()),
        (Code::NotFound, "session none does not exist")
    );
    let other = LogsRequest {
        components: vec!["x".to_owned()],
        ..of("s")
    };
    let (code, text) = refused(other).await;
    assert_eq!(code, Code::NotFound);
    assert!(
        text.contains("component \"x\" does not exist; there is driver, server"),
        "{text}"
    );
    // A pod that was deleted by hand takes its log along.
    let pods = cluster.api::<Pod>().await;
    pods.delete("s.server", &Default::default()).await.unwrap();
    cluster.gone::<Pod>("s.server").await;
    let server = LogsRequest {
        components: vec!["server".to_owned()],
        follow: true,
        ..of("s")
    };
    assert_eq!(read(&mut open(&gang, server).await, None).await, []);
    gang.world.drain().await.unwrap();
}
