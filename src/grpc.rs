//! The gRPC server: services, health, reflection, limits, and how it listens and ends.

pub mod control;
pub mod deadline;
mod ended;
pub mod errors;
pub mod forward;
mod images;
mod inspect;
pub mod limits;
pub mod listen;
pub mod load;
mod method;
mod standing;
pub mod start;
pub mod subscribe;
pub mod workspaces;

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_web::GrpcWebLayer;
use tower::util::option_layer;

use crate::amqp;
use crate::http::hosts::{HostLayer, Hosts};
use crate::http::intake::IntakeLayer;
use crate::http::{self, HttpLayer};
use crate::proto;
use crate::proto::served::inspector_server::InspectorServer;
use crate::proto::served::spec_provider_server::SpecProviderServer;
use crate::proto::served::workspace_manager_server::WorkspaceManagerServer;
use crate::readiness::Components;
use forward::Forward;
use listen::Connections;
use workspaces::Workspaces;

/// Largest request, as callers of the classic manager know it (spec 1.8).
pub const REQUEST_LIMIT: usize = 16 << 20;
/// Names of the services in health checks.
const SERVICES: [&str; 3] = [
    "wsman.WorkspaceManager",
    "registryfacade.SpecProvider",
    "wsman.inspect.v1.Inspector",
];

/// Serves until `closing` is set and every connection ended; whoever is in a hurry drops it.
///
/// # Errors
/// If the transport cannot go on.
pub async fn serve(
    service: Workspaces,
    connections: Connections,
    health: HealthServer,
    builder: Forward,
    hosts: Hosts,
    closing: CancellationToken,
) -> anyhow::Result<()> {
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // The details of errors, so that clients can print them.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
            // Of the services described only these are served.
            .with_service_name(SERVICES[0])
            .with_service_name(SERVICES[1])
            .with_service_name(SERVICES[2])
            .with_service_name("grpc.health.v1.Health")
    };
    let cors = http::cors(&hosts.origins);
    // Limits and their reasons: reliability 4.
    Server::builder()
        // HTTP/1.1 is what JSON comes by; requests of either version may be JSON, gRPC-Web or, by HTTP/2, gRPC.
        .accept_http1(true)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        // More than the limits of a connection, which refuse: what is beyond this one only waits.
        .max_concurrent_streams(10_000)
        .initial_stream_window_size(256 << 10)
        .initial_connection_window_size(1 << 20)
        .tcp_nodelay(true)
        .layer(HostLayer::new(hosts))
        .layer(option_layer(cors))
        .layer(HttpLayer::new()?)
        .layer(GrpcWebLayer::new())
        .layer(IntakeLayer::new()?)
        .add_service(
            SpecProviderServer::new(service.clone()).max_decoding_message_size(REQUEST_LIMIT),
        )
        .add_service(InspectorServer::new(service.clone()).max_decoding_message_size(REQUEST_LIMIT))
        .add_service(WorkspaceManagerServer::new(service).max_decoding_message_size(REQUEST_LIMIT))
        .add_service(builder)
        .add_service(health.0.max_decoding_message_size(REQUEST_LIMIT))
        .add_service(
            reflection()
                .build_v1()?
                .max_decoding_message_size(REQUEST_LIMIT),
        )
        // The Python client and older grpcurl speak only this one.
        .add_service(
            reflection()
                .build_v1alpha()?
                .max_decoding_message_size(REQUEST_LIMIT),
        )
        .serve_with_incoming_shutdown(connections, closing.cancelled_owned())
        .await?;
    Ok(())
}

/// The health service, opaque.
#[derive(Debug)]
pub struct HealthServer(
    tonic_health::pb::health_server::HealthServer<tonic_health::server::HealthService>,
);

/// Name under which the health service tells of the message bus.
const MESSAGE_BUS: &str = "messagebus";

/// Returns the health service and the task that keeps it true: SERVING while all components are ready and nothing drains;
/// and of a message bus, while it takes what this replica publishes.
pub async fn health(
    mut readiness: watch::Receiver<Components>,
    mut bus: Option<watch::Receiver<amqp::State>>,
    draining: CancellationToken,
) -> (HealthServer, impl Future<Output = anyhow::Result<()>>) {
    let reporter = HealthReporter::new();
    let service = tonic_health::server::HealthService::from_health_reporter(reporter.clone());
    let names = || [""].into_iter().chain(SERVICES);
    for name in names() {
        reporter
            .set_service_status(name, ServingStatus::NotServing)
            .await;
    }
    let keep = async move {
        loop {
            let ready = readiness.borrow_and_update().are_ready() && !draining.is_cancelled();
            let status = serving(ready);
            for name in names() {
                reporter.set_service_status(name, status).await;
            }
            let well = bus.as_ref().map(|state| state.borrow().is_well());
            if let Some(well) = well {
                let status = serving(well);
                reporter.set_service_status(MESSAGE_BUS, status).await;
            }
            tokio::select! {
                changed = readiness.changed() => changed?,
                () = turns(&mut bus, well) => {}
                () = draining.cancelled(), if !draining.is_cancelled() => {}
            }
        }
    };
    (
        HealthServer(tonic_health::pb::health_server::HealthServer::new(service)),
        keep,
    )
}

fn serving(well: bool) -> ServingStatus {
    match well {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}

/// Waits until the message bus is well that was not, or the other way round; for ever if there is none any more.
async fn turns(bus: &mut Option<watch::Receiver<amqp::State>>, was_well: Option<bool>) {
    if let Some(state) = bus {
        let turned = state.wait_for(|state| Some(state.is_well()) != was_well);
        if turned.await.is_ok() {
            return;
        }
    }
    std::future::pending().await
}
