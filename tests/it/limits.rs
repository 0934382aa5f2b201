//! Rate limits: by method, by request fields, rejecting and waiting.

use std::time::Duration;

use serde_json::json;
use tonic::client::Grpc;
use tonic::{Code, Request};
use tonic_prost::ProstCodec;
use tonic_types::StatusExt;
use wsman::proto::registryfacade::GetImageSpecRequest;
use wsman::proto::registryfacade::spec_provider_client::SpecProviderClient;
use wsman::proto::wsman::*;
use wsman::rpc::methods::Methods;

use super::support::cluster::{self, Cluster};
use super::support::world::{World, request};

/// The paths of the unary methods, but for those of gRPC alone.
fn methods() -> Vec<String> {
    let methods = Methods::load().unwrap();
    let unary = methods.iter().filter(|method| method.is_unary());
    let mut paths: Vec<_> = unary.map(|method| method.path.clone()).collect();
    paths.sort();
    paths
}

/// Makes each call once, with an empty request, and returns those that were rate limited, with the time to wait.
async fn exhausted(world: &World) -> Vec<(String, Option<Duration>)> {
    let mut client = Grpc::new(world.channel().await);
    let mut exhausted = Vec::new();
    for path in methods() {
        client.ready().await.unwrap();
        let codec = ProstCodec::<(), ()>::default();
        let call = client.unary(Request::new(()), path.parse().unwrap(), codec);
        if let Err(status) = call.await
            && status.code() == Code::ResourceExhausted
        {
            assert_eq!(status.message(), "too many requests");
            let wait = status.get_details_retry_info();
            exhausted.push((path, wait.and_then(|info| info.retry_delay)));
        }
    }
    exhausted
}

async fn limited(cluster: &Cluster, limits: serde_json::Value) -> World {
    World::start_with(cluster.client().await, &cluster.namespace, |config| {
        config["rpcServer"]["ratelimits"] = limits;
        config["sessions"] = json!({});
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_unary_method_can_be_limited() {
    let cluster = cluster::embedded().await;
    let limit = json!({"bucketSize": 1, "refillInterval": "1h"});
    let image = "/registryfacade.SpecProvider/GetImageSpec".to_owned();
    let all = methods().into_iter().chain([image]);
    let limits = all.map(|name| (name, limit.clone()));
    let world = limited(&cluster, limits.collect::<serde_json::Map<_, _>>().into()).await;
    assert_eq!(exhausted(&world).await, []);
    let refused = exhausted(&world).await;
    let names: Vec<_> = refused.iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, methods());
    for (name, wait) in refused {
        let wait = wait.expect(&name);
        let hour = Duration::from_secs(3600);
        assert!(wait <= hour && wait > hour / 2, "{name}: {wait:?}");
    }
    let mut images = SpecProviderClient::new(world.channel().await);
    let mut ask = async || {
        let request = GetImageSpecRequest { id: "a".to_owned() };
        images.get_image_spec(request).await.unwrap_err().code()
    };
    assert_eq!(ask().await, Code::NotFound);
    assert_eq!(ask().await, Code::ResourceExhausted);
    // The bucket gets a token over time.
    world.clock.advance(Duration::from_secs(3601));
    assert_eq!(exhausted(&world).await, []);
    drop(images);
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_key_has_a_bucket_and_the_oldest_is_forgotten() {
    let cluster = cluster::embedded().await;
    let limit = json!({
        "bucketSize": 2,
        "refillInterval": "1h",
        "key": "metadata.owner,type",
        "keyCacheSize": 2,
    });
    let limits = json!({ "/wsman.WorkspaceManager/StartWorkspace": limit });
    let world = limited(&cluster, limits).await;
    let start = async |owner: &str, kind: WorkspaceType| {
        let mut invalid = request("x");
        invalid.metadata.as_mut().unwrap().owner = owner.to_owned();
        invalid.r#type = kind.into();
        invalid.spec = None;
        let answer = world.client.clone().start_workspace(invalid).await;
        answer.unwrap_err().code()
    };
    use Code::{InvalidArgument as Passed, ResourceExhausted as Refused};
    use WorkspaceType::{Prebuild, Regular};
    for (owner, kind, expected) in [
        ("jane", Regular, Passed),
        ("jane", Regular, Passed),
        ("jane", Regular, Refused),
        ("john", Regular, Passed),
        ("jane", Regular, Refused),
        // A third key: john's bucket is the one that was not used for longest.
        ("jane", Prebuild, Passed),
        ("jane", Regular, Refused),
        ("john", Regular, Passed),
        ("john", Regular, Passed),
        ("john", Regular, Refused),
    ] {
        assert_eq!(start(owner, kind).await, expected, "{owner} {kind:?}");
    }
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocking_limit_waits_within_the_deadline() {
    let cluster = cluster::embedded().await;
    let limit = json!({"block": true, "bucketSize": 1, "refillInterval": "20s"});
    let limits = json!({ "/wsman.WorkspaceManager/DescribeCluster": limit });
    let world = limited(&cluster, limits).await;
    let describe = |timeout: u64| {
        let mut request = tonic::Request::new(DescribeClusterRequest {});
        request.set_timeout(Duration::from_secs(timeout));
        let mut client = world.client.clone();
        async move { client.describe_cluster(request).await.map(|_| ()) }
    };
    describe(30).await.unwrap();
    // There is no token by the deadline, so it does not wait.
    let refused = describe(5).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.get_details_retry_info().is_some());
    let mut waiting = std::pin::pin!(describe(60));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "it waits: {early:?}");
    world.clock.advance(Duration::from_secs(20));
    waiting.await.unwrap();
    // A call that waits when the server drains gets an error, not a closed connection.
    let waiting = tokio::spawn(describe(60));
    let mut waiting = std::pin::pin!(waiting);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut waiting).await;
    assert!(early.is_err(), "it waits: {early:?}");
    world.drain().await.unwrap();
    let refused = waiting.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
}
