//! Errors of the API server that request a pause, or whose code has more than one meaning.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use tonic::Code;
use tonic_types::StatusExt;
use wsman_sim::apiserver::faults::Fault;

use super::faults::{answers, strike};
use super::support::cluster;
use super::support::world::{World, request};

#[tokio::test]
async fn a_conflict_of_a_quota_or_a_webhook_is_waited_for_and_then_named() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let quota =
        "Operation cannot be fulfilled on resourcequotas \"team\": the object has been modified";
    let webhook = "admission webhook \"pods\" denied the request: come back later";
    let faults = cluster.server.as_ref().unwrap().faults();
    for message in [quota, webhook] {
        // A temporary error is no error of the call.
        strike(
            &cluster,
            "POST",
            "/pods",
            3,
            answers(409, "", message, None),
        );
        world.start_workspace("patient").await;
        world.stop_workspace("patient").await;
        cluster.gone::<Pod>("ws-patient").await;
        // A lasting error is returned, with its own text.
        strike(
            &cluster,
            "POST",
            "/pods",
            usize::MAX,
            answers(409, "", message, None),
        );
        faults.record();
        let begun = std::time::Instant::now();
        let call = world
            .client
            .clone()
            .start_workspace(request("contended"))
            .await;
        let refused = call.unwrap_err();
        assert_eq!(refused.code(), Code::Aborted, "{refused}");
        assert_eq!(
            refused.message(),
            format!("creating pod ws-contended: {message}")
        );
        let took = begun.elapsed();
        assert!(took > Duration::from_secs(1), "no pause: {took:?}");
        let posts = cluster.writes().len();
        assert!((4..20).contains(&posts), "{posts} requests in {took:?}");
        faults.clear();
    }
    world.drain().await.unwrap();
}

#[tokio::test]
async fn flow_control_that_sends_a_text_and_a_header_is_obeyed() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let busy = |seconds: &str| Fault::Text {
        code: 429,
        headers: vec![("retry-after", seconds.to_owned())],
        body: "Too many requests, please try again later.\n",
    };
    strike(&cluster, "POST", "/pods", 2, busy("1"));
    let begun = std::time::Instant::now();
    world.start_workspace("later").await;
    assert!(begun.elapsed() >= Duration::from_secs(2));
    // A pause that ends after the deadline is returned to the caller.
    strike(&cluster, "POST", "/pods", 1, busy("30"));
    let mut start = tonic::Request::new(request("refused"));
    start.set_timeout(Duration::from_secs(10));
    let begun = std::time::Instant::now();
    let refused = world.client.clone().start_workspace(start).await;
    let refused = refused.unwrap_err();
    assert!(begun.elapsed() < Duration::from_secs(5), "{refused}");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(
        refused.message().contains("429 Too Many Requests"),
        "{refused}"
    );
    let pause = refused.get_details_retry_info().unwrap().retry_delay;
    assert_eq!(pause, Some(Duration::from_secs(30)));
    world.drain().await.unwrap();
}
