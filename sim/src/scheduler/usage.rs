//! What the placed pods use of their nodes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::Misfit;
use super::affinity::anti_affinity;
use crate::apiserver::quantity::milli;
use crate::kubelet::node::Member;
use crate::kubelet::pod::{Container, Pod};

/// Thousandths of each resource.
pub(crate) type Amounts = BTreeMap<String, i128>;

/// Of these a node that does not state how much it has is not limited; of every other resource it has none.
const OPTIONAL: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// The pods that count on each node.
#[derive(Debug, Default)]
pub(crate) struct Usage {
    nodes: HashMap<String, Load>,
    /// The number of pods that have an anti-affinity.
    anti: usize,
}

/// What a state of a pod changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Added {
    Same,
    /// Pods that it attracts may fit now.
    New,
    /// Other pods may select it now, or no longer.
    Relabelled,
}

#[derive(Debug, Default)]
struct Load {
    pods: HashMap<String, Arc<Pod>>,
    requests: Amounts,
}

impl Usage {
    /// Counts a pod on a node, or takes a newer state of one that is.
    pub(crate) fn add(&mut self, node: &str, pod: &Arc<Pod>) -> Added {
        let load = self.nodes.entry(node.to_owned()).or_default();
        let before = load.pods.insert(pod.uid().to_owned(), pod.clone());
        if let Some(before) = before {
            return match before.metadata.labels == pod.metadata.labels {
                true => Added::Same,
                false => Added::Relabelled,
            };
        }
        for (resource, amount) in requests(pod) {
            *load.requests.entry(resource).or_default() += amount;
        }
        self.anti += usize::from(!anti_affinity(pod).is_empty());
        Added::New
    }

    pub(crate) fn remove(&mut self, node: &str, uid: &str) {
        let Some(load) = self.nodes.get_mut(node) else {
            return;
        };
        let Some(pod) = load.pods.remove(uid) else {
            return;
        };
        for (resource, amount) in requests(&pod) {
            if let Some(used) = load.requests.get_mut(&resource) {
                *used -= amount;
            }
        }
        self.anti -= usize::from(!anti_affinity(&pod).is_empty());
        if load.pods.is_empty() {
            self.nodes.remove(node);
        }
    }

    pub(super) fn has_anti_affinity(&self) -> bool {
        self.anti > 0
    }

    /// All pods with the names of their nodes.
    pub(super) fn placed(&self) -> impl Iterator<Item = (&str, &Pod)> {
        self.nodes.iter().flat_map(|(node, load)| {
            let pods = load.pods.values();
            pods.map(move |pod| (node.as_str(), pod.as_ref()))
        })
    }

    /// Every resource of which the node has too little for `asked`.
    pub(super) fn misfits(&self, node: &Member, asked: &Amounts) -> Vec<Misfit> {
        let load = self.nodes.get(&node.name);
        let mut all = Vec::new();
        if load.map_or(0, |load| load.pods.len()) >= node.room {
            all.push(Misfit::passing("Too many pods"));
        }
        for (resource, amount) in asked.iter().filter(|(_, amount)| **amount > 0) {
            let has = match node.allocatable.get(resource) {
                Some(has) => *has,
                None if OPTIONAL.contains(&resource.as_str()) => continue,
                None => 0,
            };
            let used = load.and_then(|load| load.requests.get(resource));
            let why = format!("Insufficient {resource}");
            if *amount > has {
                all.push(Misfit::lasting(why));
            } else if used.copied().unwrap_or(0) + amount > has {
                all.push(Misfit::passing(why));
            }
        }
        all
    }
}

/// What a pod requests: the most at any time, while its init containers run one by one or after them.
pub(super) fn requests(pod: &Pod) -> Amounts {
    let (mut beside, mut peak) = (Amounts::new(), Amounts::new());
    for container in &pod.spec.init_containers {
        let mut own = amounts(container);
        if container.is_sidecar() {
            own.into_iter().for_each(|one| add(&mut beside, one));
            continue;
        }
        let sidecars = beside.iter().map(|(name, amount)| (name.clone(), *amount));
        sidecars.for_each(|one| add(&mut own, one));
        raise(&mut peak, own);
    }
    for container in &pod.spec.containers {
        let own = amounts(container);
        own.into_iter().for_each(|one| add(&mut beside, one));
    }
    raise(&mut peak, beside);
    peak
}

fn amounts(container: &Container) -> Amounts {
    let requests = container.resources.requests.iter();
    requests
        .filter_map(|(name, amount)| Some((name.clone(), milli(&amount.0)?)))
        .collect()
}

fn add(amounts: &mut Amounts, (resource, amount): (String, i128)) {
    *amounts.entry(resource).or_default() += amount;
}

fn raise(amounts: &mut Amounts, others: Amounts) {
    for (resource, amount) in others {
        let known = amounts.entry(resource).or_default();
        *known = amount.max(*known);
    }
}
