//! The parts of the integration tests' support that the run needs.

#[path = "../../tests/it/support/cluster.rs"]
pub(crate) mod cluster;
#[path = "../../tests/it/support/envtest.rs"]
pub(crate) mod envtest;
#[path = "../../tests/it/support/proxy.rs"]
pub(crate) mod proxy;
#[path = "../../tests/it/support/queue.rs"]
pub(crate) mod queue;
#[path = "../../tests/it/support/rabbit.rs"]
pub(crate) mod rabbit;
#[path = "../../tests/it/support/world.rs"]
pub(crate) mod world;

/// Reports that a run is impossible.
pub(crate) fn skip(test: &str) {
    skip_without(test, "envtest", "real API server (KUBEBUILDER_ASSETS)");
}

/// Reports that a run is impossible without `what`.
pub(crate) fn skip_without(_: &str, _: &str, what: &str) {
    panic!("no {what}");
}
