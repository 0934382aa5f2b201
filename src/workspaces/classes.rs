//! The classes of a cluster, as in DescribeCluster (docs/protocol.md#what-each-call-checks).

use crate::config::{Class, Manager, UnknownClass};
use crate::proto::wsman::{DescribeClusterResponse, WorkspaceClass};
use crate::quantity::Quantity;
use crate::redact::show;

/// Metadata of the response to a start: the class of the workspace.
pub const METADATA: &str = "wsman-class";
/// Most classes that an error lists: it must fit into the trailers of a call.
const MAX_NAMED: usize = 32;
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

/// Returns the class that replaces the unknown class of a start.
pub fn substitute<'a>(asked: &str, manager: &'a Manager) -> Option<&'a str> {
    let (id, _) = manager.class(asked)?;
    (!asked.is_empty() && id != asked).then_some(id)
}

/// Returns what is wrong with a class, if the configuration rejects unknown ones.
pub(super) fn fault(asked: &str, manager: &Manager) -> Option<String> {
    let refused = manager.unknown_class == UnknownClass::Refuse;
    substitute(asked, manager).filter(|_| refused)?;
    let mut known: Vec<&str> = manager.classes.keys().map(String::as_str).collect();
    let more = known.len().saturating_sub(MAX_NAMED);
    known.truncate(MAX_NAMED);
    let mut known = known.join(", ");
    if more > 0 {
        known.push_str(&format!(" and {more} more"));
    }
    Some(format!(
        "is {}, no class of this cluster; its classes: {known}",
        show(asked)
    ))
}

/// Returns the configured description, or one from the class's resources, rounded up.
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
