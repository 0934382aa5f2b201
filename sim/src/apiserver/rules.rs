//! The rules of the API server as plain functions, for tests with many values and without a server.

use std::sync::LazyLock;

use serde_json::Value;

use super::request::{Query, Target};
use super::resources::PODS;
use super::selectors::Selector;
use super::store::Store;
use super::{bootstrap, quantity, write};

/// Tries to create an object at the path of its collection, such as `/api/v1/namespaces/default/pods`, in a new cluster.
/// Returns what would be stored.
///
/// # Errors
/// The server's message.
pub fn create(path: &str, body: &[u8]) -> Result<Value, String> {
    static NEW: LazyLock<Store> = LazyLock::new(|| {
        let store = Store::new();
        store.with(bootstrap::namespaces);
        store
    });
    let target = Target::parse(path).ok_or_else(|| format!("nothing is served at {path}"))?;
    match write::create(&NEW, &target, body, true) {
        Ok((_, stored)) => Ok(stored.value.clone()),
        Err(status) => Err(status.message),
    }
}

/// Returns whether a label selector selects a pod.
///
/// # Errors
/// The server's message, if it is no selector.
pub fn selects(selector: &str, pod: &Value) -> Result<bool, String> {
    let selector = Selector::parse(PODS, selector, "").map_err(|status| status.message)?;
    Ok(selector.matches(PODS, pod))
}

/// Returns a parameter of the query of a URL, decoded; empty if it is absent.
pub fn parameter(query: &str, name: &str) -> String {
    Query::parse(query).get(name).to_owned()
}

/// Returns the canonical text of a resource quantity, rounded up to thousandths; nothing for what is none.
pub fn quantity(text: &str) -> Option<String> {
    quantity::canonical(text)
}
