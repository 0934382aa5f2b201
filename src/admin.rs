//! Probes over HTTP: `/livez` while the process turns, `/readyz` while it may be sent callers.

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Serves the probes for ever.
///
/// # Errors
/// If the listener cannot go on.
pub async fn serve(
    listener: TcpListener,
    synced: watch::Receiver<bool>,
    draining: CancellationToken,
) -> anyhow::Result<()> {
    let routes = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .with_state((synced, draining));
    Ok(axum::serve(listener, routes).await?)
}

async fn ready(
    State((synced, draining)): State<(watch::Receiver<bool>, CancellationToken)>,
) -> (StatusCode, &'static str) {
    if draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining")
    } else if *synced.borrow() {
        (StatusCode::OK, "ok")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server was not heard of, or not lately",
        )
    }
}
