//! Reads what is to be explained: a pod as `kubectl get -o json` prints it, or a case with what belongs to it.

use std::collections::BTreeSet;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::exit::Failure;
use crate::cli::input;
use crate::index::observed::KnownNode;
use crate::workspaces;
use crate::workspaces::case::{Case, Objects};
use crate::workspaces::decide::LifecyclePolicy;
use crate::workspaces::entry::place;
use crate::workspaces::status::Defaults;

/// What the configuration contributes.
#[derive(Default)]
pub(super) struct Config {
    pub(super) defaults: Defaults,
    pub(super) policy: LifecyclePolicy,
}

/// Reads a case; `-` is standard input.
pub(super) fn case(file: &str, config: &Config) -> Result<Case, Failure> {
    let text = input::text(Path::new(file), input::LARGE)?;
    let mut pods = pods(parse(&text, file)?);
    let (Some(mut value), older) = (pods.pop(), pods) else {
        return Err(Failure::usage(
            "the list holds 0 pods, want those of one workspace",
        ));
    };
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
    let newest = objects(&mut value, config)?;
    let mut members = Vec::new();
    for pod in older {
        members.push(objects(&mut serde_json::json!({ "pod": pod }), config)?);
    }
    members.push(newest);
    members.sort_by_key(|objects| place(&objects.pod).rank);
    let anchors: BTreeSet<_> = members.iter().map(|o| place(&o.pod).anchor.uid).collect();
    if anchors.len() > 1 {
        let count = members.len();
        let why = format!("the list holds {count} pods, want those of one workspace");
        return Err(Failure::usage(why));
    }
    Ok(Case {
        members,
        activity,
        policy: config.policy.clone(),
        ..Case::default()
    })
}

/// Reads a pod, and what is given beside it.
fn objects(value: &mut Value, config: &Config) -> Result<Objects, Failure> {
    let events = match take(value, "events") {
        Value::Array(events) => events,
        mut list => match take(&mut list, "items") {
            Value::Array(events) => events,
            _ => Vec::new(),
        },
    };
    Ok(Objects {
        pod: object(take(value, "pod"), "pod")?,
        // Like the daemon's own reads: an entry of another shape is passed over.
        events: events
            .into_iter()
            .filter_map(|event| serde_json::from_value(event).ok())
            .collect(),
        node: match take(value, "node") {
            Value::Null => KnownNode::Unknown,
            Value::String(text) if text == "gone" => KnownNode::Gone,
            node => KnownNode::Present(Box::new(object(node, "node")?)),
        },
        defaults: config.defaults.clone(),
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

/// Returns the pods of a list, which `kubectl get pods -o json` prints.
fn pods(mut value: Value) -> Vec<Value> {
    let is_list = value["kind"] == "List" || value["kind"] == "PodList";
    match take(&mut value, "items") {
        Value::Array(items) if is_list => items,
        _ => vec![value],
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
