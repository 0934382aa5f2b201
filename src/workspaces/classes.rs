//! What a cluster offers: its classes as DescribeCluster lists them (spec 2.14).

use crate::config::{Class, Manager};
use crate::proto::wsman::{DescribeClusterResponse, WorkspaceClass};
use crate::quantity::Quantity;

/// Bytes of a GB.
const GIGA: i64 = 1_000_000_000;

/// Returns the classes, sorted by id, and the preferred one.
pub fn describe_classes(manager: &Manager) -> DescribeClusterResponse {
    DescribeClusterResponse {
        workspace_classes: manager
            .classes
            .iter()
            .map(|(id, class)| WorkspaceClass {
                id: id.clone(),
                display_name: class.name.clone(),
                description: description(class),
                credits_per_minute: class.credits_per_minute,
            })
            .collect(),
        preferred_workspace_class: manager.preferred_class.clone(),
    }
}

/// Returns the configured description, or one made from what a workspace may use. Rounded up: nobody reads "1.9 GB".
fn description(class: &Class) -> String {
    if !class.description.is_empty() {
        return class.description.clone();
    }
    let whole = |limit: &Option<Quantity>, request: &Option<Quantity>, unit: i64| {
        let amount = [limit, request]
            .into_iter()
            .flatten()
            .find(|quantity| !quantity.is_zero());
        amount.map_or(0, |quantity| {
            quantity
                .value()
                .max(0)
                .unsigned_abs()
                .div_ceil(unit.unsigned_abs())
        })
    };
    let (limits, requests) = (&class.limits, &class.requests);
    let cpu = whole(&limits.cpu, &requests.cpu, 1);
    let memory = whole(&limits.memory, &requests.memory, GIGA);
    let disk = whole(&limits.storage, &requests.storage, GIGA);
    format!("{cpu} vCPU, {memory}GB memory, {disk}GB disk")
}
