//! Warnings about pods, as the API server has them: also those that come before their pod, so that the status of a pod
//! does not depend on which of the two was seen first.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::{Changes, Index};
use crate::action::PodRef;
use crate::objects::Event;
use crate::workspaces::status;

/// Warnings kept per pod: those seen last.
const PER_POD: usize = 8;

/// Pods that are no workspaces (yet, or any more) whose warnings are kept.
const STRANGERS: usize = 4096;

/// The warnings by the names of their pods.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    by_pod: HashMap<Arc<str>, Vec<Event>>,
    /// Names that had no workspace, the oldest first.
    strangers: VecDeque<Arc<str>>,
}

impl Warnings {
    /// Returns the warnings about pods of this name.
    pub(super) fn of(&self, pod: &str) -> &[Event] {
        self.by_pod.get(pod).map_or(&[], Vec::as_slice)
    }

    /// Keeps an event unless a newer one of its name is known. Returns whether it was news.
    fn keep(&mut self, event: Event) -> bool {
        let pod = event.involved_object.name.as_str();
        let known = match self.by_pod.get_mut(pod) {
            Some(known) => known,
            None => self.by_pod.entry(pod.into()).or_default(),
        };
        let (name, version) = (&event.metadata.name, event.metadata.version());
        match known.iter_mut().find(|e| e.metadata.name == *name) {
            Some(same) if same.metadata.version() > version || *same == event => return false,
            Some(same) => *same = event,
            None => known.push(event),
        }
        if known.len() > PER_POD {
            known.sort_by(|a, b| status::rank(b).cmp(&status::rank(a)));
            known.truncate(PER_POD);
        }
        true
    }

    /// Lets go of an event that is gone since `version`; returns the pod that it was about.
    fn drop_event(&mut self, pod: &str, name: &str, version: u64) -> Option<Arc<str>> {
        let (pod, known) = self.by_pod.get_key_value(pod)?;
        let at = known
            .iter()
            .position(|event| event.metadata.name == name && event.metadata.version() <= version)?;
        let pod = Arc::clone(pod);
        let known = self.by_pod.get_mut(&pod)?;
        known.remove(at);
        if known.is_empty() {
            self.by_pod.remove(&pod);
        }
        Some(pod)
    }

    /// Takes in that there is no workspace under a pod's name. What is told of the pod may still be of use to the next.
    pub(super) fn estrange(&mut self, pod: &str, is_workspace: impl Fn(&str) -> bool) {
        let Some((name, _)) = self.by_pod.get_key_value(pod) else {
            return;
        };
        self.strangers.push_back(Arc::clone(name));
        while self.strangers.len() > STRANGERS {
            if let Some(oldest) = self.strangers.pop_front()
                && !is_workspace(&oldest)
            {
                self.by_pod.remove(&oldest);
            }
        }
    }
}

impl Index {
    /// Returns the warnings about a pod that are kept.
    pub fn warnings<'a>(&'a self, pod: &'a PodRef) -> impl Iterator<Item = &'a Event> {
        let known = self.warnings.of(&pod.name).iter();
        known.filter(|event| {
            let about = &event.involved_object.uid;
            about.is_empty() || *about == pod.uid
        })
    }

    /// Takes in a warning about a pod.
    pub fn apply_event(&mut self, event: Event) -> Changes {
        let mut changes = Changes::default();
        if !status::is_kept(&event) {
            return changes;
        }
        let pod = event.involved_object.name.clone();
        let new = self.warnings.of(&pod).is_empty();
        let tracked = self.workspaces.get_key_value(pod.as_str());
        let matters = tracked.filter(|(_, tracked)| {
            let about = &event.involved_object.uid;
            let of_pod = about.is_empty() || *about == tracked.pod.uid;
            of_pod && status::depends_on(&event, tracked.state.pod_phase)
        });
        let reread = matters.map(|(name, _)| Arc::clone(name));
        let is_workspace = tracked.is_some();
        if self.warnings.keep(event) {
            changes.reread.extend(reread);
        }
        if new && !is_workspace {
            self.estrange(&pod);
        }
        changes
    }

    /// Takes in that a warning is gone: the API server forgets them after an hour.
    pub fn delete_event(&mut self, event: &Event) -> Changes {
        let (pod, meta) = (&event.involved_object.name, &event.metadata);
        let version = meta.version().max(1);
        let pod = self.warnings.drop_event(pod, &meta.name, version);
        self.read_again(pod)
    }

    /// Takes in that a complete list at `version` held only the events in `present`.
    pub fn retain_events(&mut self, present: &HashSet<String>, version: u64) -> Changes {
        let all = self.warnings.by_pod.iter();
        let gone: Vec<(Arc<str>, String)> = all
            .flat_map(|(pod, events)| events.iter().map(move |event| (pod, &event.metadata)))
            .filter(|(_, meta)| meta.version() <= version && !present.contains(&meta.name))
            .map(|(pod, meta)| (Arc::clone(pod), meta.name.clone()))
            .collect();
        let mut changes = Changes::default();
        for (pod, name) in gone {
            let pod = self.warnings.drop_event(&pod, &name, version);
            changes.extend(self.read_again(pod));
        }
        changes
    }

    /// Warnings about a pod whose workspace ended are kept as those of any other.
    pub(super) fn estrange(&mut self, pod: &str) {
        let workspaces = &self.workspaces;
        self.warnings
            .estrange(pod, |name| workspaces.contains_key(name));
    }

    fn read_again(&self, pod: Option<Arc<str>>) -> Changes {
        let known = pod.filter(|pod| self.workspaces.contains_key(pod));
        Changes {
            reread: known.into_iter().collect(),
            ..Changes::default()
        }
    }
}
