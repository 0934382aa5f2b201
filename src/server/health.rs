//! The gRPC health service. The server and each service are SERVING while every required component is ready and the
//! server does not drain. Each component also has its own status, under its name.

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::readiness::Components;

/// Returns the health service of a server with these services, and the task that updates it.
pub(super) async fn service(
    services: Vec<&'static str>,
    mut components: watch::Receiver<Components>,
    draining: CancellationToken,
) -> (
    HealthServer<HealthService>,
    impl Future<Output = anyhow::Result<()>>,
) {
    let reporter = HealthReporter::new();
    let service = HealthService::from_health_reporter(reporter.clone());
    let names: Vec<_> = [""].into_iter().chain(services).collect();
    for name in &names {
        let status = ServingStatus::NotServing;
        reporter.set_service_status(name, status).await;
    }
    let keep = async move {
        loop {
            let known = components.borrow_and_update().clone();
            let ready = serving(known.are_ready() && !draining.is_cancelled());
            for name in &names {
                reporter.set_service_status(name, ready).await;
            }
            for (name, state) in known.iter() {
                let status = serving(state.is_ready());
                reporter.set_service_status(name, status).await;
            }
            tokio::select! {
                changed = components.changed() => changed?,
                () = draining.cancelled(), if !draining.is_cancelled() => {}
            }
        }
    };
    (HealthServer::new(service), keep)
}

fn serving(ready: bool) -> ServingStatus {
    match ready {
        true => ServingStatus::Serving,
        false => ServingStatus::NotServing,
    }
}
