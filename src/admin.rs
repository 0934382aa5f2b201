//! Probes over HTTP: `/livez` while the process turns, `/readyz` while it may be sent callers. Neither depends on what else
//! is told: `/load`, what is in flight, and `/messagebus`, how the publisher is doing.

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::amqp;
use crate::grpc::load::Load;
use crate::readiness::Components;

/// Serves the probes for ever.
///
/// # Errors
/// If the listener cannot go on.
pub async fn serve(
    listener: TcpListener,
    readiness: watch::Receiver<Components>,
    load: watch::Receiver<Load>,
    bus: Option<watch::Receiver<amqp::State>>,
    draining: CancellationToken,
) -> anyhow::Result<()> {
    let bus = async move || match &bus {
        Some(state) => Ok(Json(state.borrow().clone())),
        None => Err((StatusCode::NOT_FOUND, "no messagebus is configured")),
    };
    let routes = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/load", get(async move || Json(*load.borrow())))
        .route("/messagebus", get(bus))
        .with_state((readiness, draining));
    Ok(axum::serve(listener, routes).await?)
}

async fn ready(
    State((readiness, draining)): State<(watch::Receiver<Components>, CancellationToken)>,
) -> (StatusCode, String) {
    let components = readiness.borrow();
    if draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining".to_owned())
    } else if components.are_ready() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        let reasons = components.reasons();
        let lines = reasons.map(|(name, reason)| format!("{name}: {reason}\n"));
        (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
    }
}
