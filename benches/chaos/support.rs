//! The parts of the integration tests' support that the run needs.

#[path = "../../tests/it/support/cluster.rs"]
pub(crate) mod cluster;
#[path = "../../tests/it/support/envtest.rs"]
pub(crate) mod envtest;
#[path = "../../tests/it/support/proxy.rs"]
pub(crate) mod proxy;
#[path = "../../tests/it/support/world.rs"]
pub(crate) mod world;

/// Says that a run cannot be made.
pub(crate) fn skip(_: &str) {
    panic!("no real API server (KUBEBUILDER_ASSETS)");
}
