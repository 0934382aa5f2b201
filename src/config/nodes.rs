//! The rules for the nodes of the embedded cluster.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::json;

use super::faults::Faults;
use super::fields::{Fields, Findings};
use super::problem::Problem;
use super::settings::SimulatedNode;
use super::{file, keys, syntax, unknown};
use crate::json::{self, join};
use crate::quantity::Quantity;
use crate::workspaces::names;

/// Longest name of a node: it is also the value of a label.
const LONGEST: usize = 63;

/// Reads nodes as `kubernetes.nodes` has them, from a file of their own.
///
/// # Errors
/// Every problem.
pub fn nodes(text: &str) -> Result<Vec<SimulatedNode>, Vec<Problem>> {
    let (value, twice) = json::read(text)
        .map_err(|error| vec![Problem::error("", syntax::explain(text, &error))])?;
    let findings = Rc::new(RefCell::new(Findings::default()));
    let mut fields = Fields::new("", json!({ "nodes": value }), &findings);
    let nodes = keys::nodes(&mut fields);
    fields.finish();
    let findings = findings.take();
    let mut problems = findings.problems;
    problems.extend(findings.unknown.iter().map(|key| unknown(key, &[])));
    problems.extend(twice.iter().map(|path| {
        let path = format!("nodes.{path}");
        Problem::error(path, "is given more than once; keep one")
    }));
    let mut faults = Faults::new(problems);
    let nodes = check("nodes", nodes, &mut faults);
    let problems = faults.finish();
    match problems.is_empty() {
        true => Ok(nodes),
        false => Err(problems),
    }
}

/// Checks the nodes at `path`, and lists each by its own name.
pub(super) fn check(
    path: &str,
    nodes: BTreeMap<String, file::Node>,
    faults: &mut Faults,
) -> Vec<SimulatedNode> {
    let mut all = Vec::new();
    let mut taken = BTreeSet::new();
    for (name, node) in nodes {
        let path = join(path, &name);
        if !names::is_dns_subdomain(&name) || name.len() > LONGEST {
            let rule = "a node has at most 63 lower-case letters, digits, '-' and '.'";
            faults.add(&path, format!("is no name of a node; {rule}"));
        }
        labels(&join(&path, "labels"), &node.labels, faults);
        capacity(&join(&path, "capacity"), &node.capacity, faults);
        for index in 0..node.count {
            let name = match node.count {
                1 => name.clone(),
                _ => format!("{name}-{index}"),
            };
            if name.len() > LONGEST && index + 1 == node.count {
                faults.add(&path, "is longer than 63 bytes with its number");
            }
            if !taken.insert(name.clone()) {
                faults.add(
                    &path,
                    format!("makes the node {name:?}, which another makes"),
                );
            }
            all.push(SimulatedNode {
                name,
                labels: node.labels.clone(),
                capacity: node.capacity.clone(),
            });
        }
    }
    all
}

fn labels(path: &str, labels: &BTreeMap<String, String>, faults: &mut Faults) {
    for (key, value) in labels {
        let path = join(path, key);
        if !is_qualified(key) {
            faults.add(&path, "is no key of a label");
        }
        if !names::is_label_value(value) {
            let rule = "a label has at most 63 letters, digits, '-', '_' and '.', and begins and ends with one of the first two";
            faults.add(&path, format!("is {value:?}; {rule}"));
        }
    }
}

fn capacity(path: &str, capacity: &BTreeMap<String, String>, faults: &mut Faults) {
    for (resource, text) in capacity {
        let path = join(path, resource);
        if !is_qualified(resource) {
            faults.add(&path, "is no name of a resource");
        }
        let countable = resource == "pods" || resource.contains('/');
        match Quantity::parse(text) {
            Err(why) => faults.add(&path, format!("is {text:?}; {}", why.advice(text))),
            Ok(amount) if amount.is_negative() => {
                faults.add(&path, format!("is {text:?}; must not be negative"));
            }
            Ok(amount) if countable && !amount.is_whole() => {
                faults.add(&path, format!("is {text:?}; must be a whole number"));
            }
            Ok(_) => {}
        }
    }
}

/// Whether `key` may be the key of a label or the name of a resource: a name, perhaps after a domain and a slash.
fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        None => names::is_name_part(key),
        Some((prefix, name)) => names::is_dns_subdomain(prefix) && names::is_name_part(name),
    }
}
