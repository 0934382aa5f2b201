//! Clients of operations, and of the scheduling service that wsman replaces.

use std::time::Duration;

use prost::Message;
use tonic::Code;
use wsman::proto::google::longrunning::operation::Result as Ended;
use wsman::proto::google::longrunning::operations_client::OperationsClient;
use wsman::proto::google::longrunning::*;
use wsman::proto::grpc::testing::benchmarking::scheduling::v1 as scheduling;
use wsman::proto::wsman::sessions::v1::Phase;

use crate::sessions::gang::*;
use crate::support::cluster;
use scheduling::component::Kind;
use scheduling::scheduling_service_client::SchedulingServiceClient;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c11_29_operations_are_sessions_and_can_be_listed_waited_for_and_cancelled() {
    let cluster = cluster::embedded().await;
    machines(&cluster, "w", 2).await;
    let gang = Gang::start(&cluster).await;
    let mut client = OperationsClient::new(gang.world.channel().await);
    let two = [("driver", "driver", "w"), ("server", "server", "w")];
    let ends = script(
        request(&cluster, "ends", &two),
        "driver",
        &[("exit-after", "100ms")],
    );
    gang.begin(ends).await.unwrap();
    let wait = |name: &str, timeout: Duration| WaitOperationRequest {
        name: format!("operations/{name}"),
        timeout: Some(timeout.into()),
    };
    let ended = client
        .wait_operation(wait("ends", Duration::from_secs(50)))
        .await;
    let ended = ended.unwrap().into_inner();
    assert!(ended.done, "{ended:?}");
    let Some(Ended::Response(response)) = &ended.result else {
        panic!("{ended:?}")
    };
    let result = scheduling::TestSessionResult::decode(response.value.clone()).unwrap();
    assert!(result.time_elapsed.unwrap().seconds >= 0);
    let get = GetOperationRequest {
        name: ended.name.clone(),
    };
    assert_eq!(client.get_operation(get).await.unwrap().into_inner(), ended);

    gang.begin(request(&cluster, "runs", &two)).await.unwrap();
    gang.until_phase("runs", Phase::Running).await;
    let still = client
        .wait_operation(wait("runs", Duration::from_millis(1)))
        .await;
    assert!(!still.unwrap().into_inner().done);
    let all = client
        .list_operations(ListOperationsRequest::default())
        .await;
    let all = all.unwrap().into_inner().operations;
    let names: Vec<_> = all
        .iter()
        .map(|operation| operation.name.as_str())
        .collect();
    assert_eq!(names, ["operations/ends", "operations/runs"]);
    for name in ["operations/runs", "operations/ends"] {
        let cancel = CancelOperationRequest {
            name: name.to_owned(),
        };
        client.cancel_operation(cancel).await.unwrap();
    }
    let cancelled = client
        .wait_operation(wait("runs", Duration::from_secs(50)))
        .await;
    let Some(Ended::Error(error)) = cancelled.unwrap().into_inner().result else {
        panic!("it has no error")
    };
    assert_eq!(error.code, Code::Cancelled as i32);

    let gone = GetOperationRequest {
        name: "operations/none".to_owned(),
    };
    assert_eq!(code(&client.get_operation(gone).await), Code::NotFound);
    let wrong = GetOperationRequest {
        name: "ends".to_owned(),
    };
    assert_eq!(
        code(&client.get_operation(wrong).await),
        Code::InvalidArgument
    );
    let delete = DeleteOperationRequest { name: ended.name };
    assert_eq!(
        code(&client.delete_operation(delete).await),
        Code::Unimplemented
    );
    drop(client);
    gang.world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_of_the_scheduling_service_starts_a_session() {
    let cluster = cluster::embedded().await;
    machines(&cluster, "w", 3).await;
    let gang = Gang::start(&cluster).await;
    let mut client = SchedulingServiceClient::new(gang.world.channel().await);
    let component = |kind: Kind| scheduling::Component {
        container_image: "example.com/bench:1".to_owned(),
        kind: kind.into(),
        pool: pool(&cluster, "w"),
    };
    let mut request = scheduling::StartTestSessionRequest {
        scenario: b"\x0a\x01x".to_vec(),
        driver: Some(component(Kind::Driver)),
        workers: vec![component(Kind::Client), component(Kind::Server)],
        ..Default::default()
    };
    let started = client.start_test_session(request.clone()).await;
    let started = started.unwrap().into_inner();
    let id = started.name.strip_prefix("operations/").unwrap().to_owned();
    let names: Vec<_> = pods(&cluster, &id)
        .await
        .into_iter()
        .map(|pod| pod.metadata.name.unwrap())
        .collect();
    assert_eq!(
        names,
        [
            id.clone(),
            format!("{id}.client-1"),
            format!("{id}.server-1")
        ]
    );
    let anchor = cluster.until_pod(&id, |_| true).await;
    let env = anchor.spec.unwrap().containers.remove(0).env.unwrap();
    let value = |name: &str| {
        let of = env.iter().find(|variable| variable.name == name);
        of.and_then(|variable| variable.value.clone())
            .unwrap_or_default()
    };
    assert_eq!(value("SCENARIO_PB"), "CgF4");
    let workers = value("QPS_WORKERS");
    let workers: Vec<_> = workers
        .split(',')
        .map(|peer| peer.split('.').next().unwrap())
        .collect();
    assert_eq!(workers, ["server-1", "client-1"]);
    request.workers[0].kind = Kind::Unspecified.into();
    let refused = client.start_test_session(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("workers[0].kind"), "{refused}");
    drop(client);
    gang.world.drain().await.unwrap();
}
