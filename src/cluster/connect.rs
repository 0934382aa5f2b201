//! Creates the client of the API server. wsman has its own deadlines and retries.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

/// Where the credentials come from.
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A kubeconfig file.
    Kubeconfig(&'a Path),
    /// `KUBECONFIG` or `~/.kube/config`.
    DefaultKubeconfig,
    /// The service account of this process's pod.
    InCluster,
}

/// The user agent of the daemon, which audit logs show.
pub const AGENT: &str = concat!("wsman/", env!("CARGO_PKG_VERSION"));

/// Reads the credentials and returns a client with the user agent `agent`; it connects at the first request.
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
    // kube's own retries are silent and may take minutes; without a timeout, a read would hang on a half-open
    // connection.
    config.default_retry = false;
    config.connect_timeout = Some(Duration::from_secs(5));
    config.read_timeout = Some(super::informer::IDLE_TIMEOUT);
    super::transport::client(config)
}
