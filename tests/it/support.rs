//! What the tests share: clusters, daemons on them, and ways to break the connections.

/// Makes one test per cluster of each story.
macro_rules! on_both_clusters {
    ($($story:ident)*) => {
        mod embedded {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                super::$story(&crate::support::cluster::embedded().await).await;
            })*
        }
        mod real {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                if let Some(cluster) = crate::support::cluster::real(stringify!($story)).await {
                    super::$story(&cluster).await;
                }
            })*
        }
    };
}

pub(crate) mod cluster;
pub(crate) mod envtest;
pub(crate) mod proxy;
pub(crate) mod queue;
pub(crate) mod rabbit;
pub(crate) mod story;
pub(crate) mod world;
pub(crate) mod wsdaemon;

/// Reports that a test cannot run without a real API server, or fails it if one is required.
pub(crate) fn skip(test: &str) {
    skip_without(test, "envtest", "real API server (KUBEBUILDER_ASSETS)");
}

/// Reports that a test cannot run without `what`, or fails it if WSMAN_TEST_REQUIRE names it.
pub(crate) fn skip_without(test: &str, name: &str, what: &str) {
    let required = std::env::var("WSMAN_TEST_REQUIRE").unwrap_or_default();
    assert!(
        !required.split(',').any(|required| required.trim() == name),
        "{test} needs {what}"
    );
    eprintln!("skipped {test}: no {what}");
}
