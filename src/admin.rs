//! Probes over HTTP: `/livez` succeeds while the process runs, `/readyz` while it may receive calls. Parts of the
//! daemon register further pages of JSON, such as what is in flight; the probes do not depend on them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::readiness::{self, Components};

/// A page of JSON.
#[allow(missing_debug_implementations, reason = "it holds a function")]
pub struct Page {
    path: &'static str,
    content: Box<dyn Fn() -> Option<String> + Send + Sync>,
}

impl Page {
    /// Returns the page `/<path>`. It answers 404 without content.
    pub fn new(
        path: &'static str,
        content: impl Fn() -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        let content = Box::new(content);
        Self { path, content }
    }

    fn answer(&self) -> Response {
        match (self.content)() {
            Some(content) => ([(CONTENT_TYPE, "application/json")], content).into_response(),
            None => {
                let why = format!("no {} is configured", self.path);
                (StatusCode::NOT_FOUND, why).into_response()
            }
        }
    }
}

/// Serves the probes.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    components: watch::Receiver<Components>,
    pages: Vec<Page>,
    draining: CancellationToken,
) -> anyhow::Result<()> {
    let mut routes = Router::new()
        .route("/livez", get(async || "ok"))
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .with_state((components, draining));
    for page in pages {
        let path = format!("/{}", page.path);
        let page = Arc::new(page);
        routes = routes.route(&path, get(async move || page.answer()));
    }
    Ok(axum::serve(listener, routes).await?)
}

/// `?verbose` lists every component, as in the Kubernetes API server.
async fn ready(
    State((components, draining)): State<(watch::Receiver<Components>, CancellationToken)>,
    RawQuery(query): RawQuery,
) -> (StatusCode, String) {
    let components = components.borrow();
    let (code, text) = if draining.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "draining".to_owned())
    } else if components.are_ready() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        let reasons = components.reasons();
        let lines = reasons.map(|(name, reason)| format!("{name}: {reason}\n"));
        (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
    };
    let is_verbose = query.is_some_and(|query| query.starts_with("verbose"));
    match is_verbose {
        false => (code, text),
        true => (code, components.iter().map(line).collect()),
    }
}

fn line((name, state): (&str, &readiness::State)) -> String {
    let optional = match state.is_optional() {
        true => " (the daemon can do without it)",
        false => "",
    };
    match state.reason() {
        None => format!("[+]{name} ok\n"),
        Some(reason) => format!("[-]{name} failed: {reason}{optional}\n"),
    }
}
