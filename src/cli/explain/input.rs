//! Reads what is to be explained: a pod as `kubectl get -o json` prints it, or a case with what belongs to it.

use std::path::Path;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::exit::Failure;
use crate::cli::input;
use crate::objects::{Event, Node, Pod};
use crate::workspaces;
use crate::workspaces::decide::LifecyclePolicy;
use crate::workspaces::status::Defaults;

/// One pod and what is known beside it.
pub(super) struct Case {
    pub(super) pod: Pod,
    pub(super) events: Vec<Event>,
    pub(super) node: Option<Node>,
    /// The node was given as the text "gone": there is none any more.
    pub(super) node_gone: bool,
    pub(super) activity: Option<Timestamp>,
}

/// What the configuration contributes.
#[derive(Default)]
pub(super) struct Config {
    pub(super) defaults: Defaults,
    pub(super) policy: LifecyclePolicy,
}

/// Reads a case; `-` is standard input.
pub(super) fn case(file: &str) -> Result<Case, Failure> {
    let text = input::text(Path::new(file), input::LARGE)?;
    let mut value = only_item(parse(&text, file)?)?;
    if value.get("pod").is_none() {
        let names_it = value["kind"] == "Pod" || value.get("metadata").is_some();
        if !names_it {
            let want = "want a Pod, or an object with the key \"pod\"";
            return Err(Failure::usage(format!("{file} holds no pod; {want}")));
        }
        value = serde_json::json!({ "pod": value });
    }
    let activity =
        match &value["activity"] {
            Value::Null => None,
            Value::String(text) => Some(text.parse().map_err(|e| {
                Failure::usage(format!("activity {text:?} is no RFC 3339 time: {e}"))
            })?),
            other => {
                return Err(Failure::usage(format!(
                    "activity {other} is no RFC 3339 time"
                )));
            }
        };
    let events = match take(&mut value, "events") {
        Value::Array(events) => events,
        mut list => match take(&mut list, "items") {
            Value::Array(events) => events,
            _ => Vec::new(),
        },
    };
    Ok(Case {
        pod: object(take(&mut value, "pod"), "pod")?,
        // Like the daemon's own reads: an entry of another shape is passed over.
        events: events
            .into_iter()
            .filter_map(|event| serde_json::from_value(event).ok())
            .collect(),
        node_gone: value["node"] == "gone",
        node: match take(&mut value, "node") {
            Value::Null => None,
            Value::String(text) if text == "gone" => None,
            node => Some(object(node, "node")?),
        },
        activity,
    })
}

/// Reads JSON, or YAML where the text does not begin as JSON does.
fn parse(text: &str, file: &str) -> Result<Value, Failure> {
    match text.trim_start().starts_with(['{', '[']) {
        true => serde_json::from_str(text)
            .map_err(|error| Failure::usage(format!("{file} holds no JSON: {error}"))),
        false => serde_saphyr::from_str(text)
            .map_err(|error| Failure::usage(format!("{file} holds no JSON and no YAML: {error}"))),
    }
}

/// `kubectl get pods -l workspaceID=... -o json` prints a List, which is fine while it holds one pod.
fn only_item(mut value: Value) -> Result<Value, Failure> {
    let is_list = value["kind"] == "List" || value["kind"] == "PodList";
    let Value::Array(mut items) = take(&mut value, "items") else {
        return Ok(value);
    };
    match (is_list, items.len(), items.pop()) {
        (true, 1, Some(item)) => Ok(item),
        (true, n, _) => Err(Failure::usage(format!("the list holds {n} pods, want one"))),
        (false, ..) => Ok(value),
    }
}

/// Takes a member out, which is null where there is none.
fn take(value: &mut Value, key: &str) -> Value {
    value.get_mut(key).map(Value::take).unwrap_or_default()
}

fn object<T: DeserializeOwned>(value: Value, what: &str) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|e| Failure::usage(format!("{what} is no object: {e}")))
}

/// Reads the parts of a configuration that the fold and the lifecycle look at; without one nothing is defaulted.
pub(super) fn config(file: Option<&Path>) -> Result<Config, Failure> {
    let Some(file) = file else {
        return Ok(Config::default());
    };
    let settings = crate::cli::config::load(file)?;
    Ok(Config {
        defaults: workspaces::defaults(&settings.manager),
        policy: workspaces::policy(&settings),
    })
}
