//! Makes the client of the API server, with deadlines and retries left to wsman itself.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// How to find the API server.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A kubeconfig file.
    Kubeconfig(&'a Path),
    /// `KUBECONFIG` or `~/.kube/config`.
    DefaultKubeconfig,
    /// The service account of the pod that this process runs in.
    InCluster,
}

/// How the daemon calls itself, so that audit logs tell who wrote.
pub const AGENT: &str = concat!("wsman/", env!("CARGO_PKG_VERSION"));

/// Reads the credentials and returns a client that calls itself `agent`; nothing is sent yet.
///
/// # Errors
/// If the credentials cannot be read.
pub async fn connect(source: Source<'_>, agent: &'static str) -> anyhow::Result<Client> {
    let options = KubeConfigOptions::default();
    let mut config = match source {
        Source::Kubeconfig(path) => {
            let kubeconfig = Kubeconfig::read_from(path)
                .with_context(|| format!("cannot read kubeconfig {}", path.display()))?;
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .context("cannot use kubeconfig")?
        }
        Source::DefaultKubeconfig => Config::from_kubeconfig(&options)
            .await
            .context("cannot use kubeconfig")?,
        Source::InCluster => {
            Config::incluster().context("cannot read the pod's service account")?
        }
    };
    config.headers.push((
        http::header::USER_AGENT,
        http::HeaderValue::from_static(agent),
    ));
    // kube's own retries are silent and may take minutes; a read without limit would hang on a half-open connection.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(super::informer::IDLE_LIMIT);
    super::transport::client(config)
}
