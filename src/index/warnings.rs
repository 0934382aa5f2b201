//! Warnings about pods, as the API server has them: also those that come before their pod, so that the status of a pod
//! does not depend on which of the two was seen first.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;

use super::noun::Noun;
use super::{Changes, Index};
use crate::action::PodRef;
use crate::objects::Event;

/// Warnings kept per pod: those seen last.
const PER_POD: usize = 8;

/// Pods that are not ours (yet, or any more) whose warnings are kept.
const STRANGERS: usize = 4096;

/// The warnings by the names of their pods.
#[derive(Debug, Default)]
pub(super) struct Warnings {
    by_pod: HashMap<Arc<str>, Vec<Event>>,
    /// Names that had no pod of ours, the oldest first.
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
            known.sort_by(|a, b| rank(b).cmp(&rank(a)));
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

    /// Takes in that no pod of ours has a name. The warnings may still be of use to the next that has it.
    pub(super) fn estrange(&mut self, pod: &str, is_ours: impl Fn(&str) -> bool) {
        let Some((name, _)) = self.by_pod.get_key_value(pod) else {
            return;
        };
        self.strangers.push_back(Arc::clone(name));
        while self.strangers.len() > STRANGERS {
            if let Some(oldest) = self.strangers.pop_front()
                && !is_ours(&oldest)
            {
                self.by_pod.remove(&oldest);
            }
        }
    }
}

/// Orders events by when they were last seen.
pub fn rank(event: &Event) -> (Option<Timestamp>, u64, &str) {
    let meta = &event.metadata;
    (event.last_seen(), meta.version(), &meta.name)
}

impl<N: Noun> Index<N> {
    /// Returns the warnings about a pod that are kept.
    pub fn warnings<'a>(&'a self, pod: &'a PodRef) -> impl Iterator<Item = &'a Event> {
        let known = self.warnings.of(&pod.name).iter();
        known.filter(|event| {
            let about = &event.involved_object.uid;
            about.is_empty() || *about == pod.uid
        })
    }

    /// Takes in a warning about a pod.
    pub fn apply_event(&mut self, event: Event) -> Changes<N> {
        let mut changes = Changes::default();
        if !N::keeps(&event) {
            return changes;
        }
        let pod = event.involved_object.name.clone();
        let new = self.warnings.of(&pod).is_empty();
        let known = self.known(&pod);
        let matters = known.filter(|known| {
            let about = &event.involved_object.uid;
            let of_pod = about.is_empty() || *about == known.pod.uid;
            of_pod && N::depends_on(&event, &known.entry)
        });
        let reread: Option<Arc<str>> = matters.map(|known| known.pod.name.as_str().into());
        let is_ours = known.is_some();
        if self.warnings.keep(event) {
            changes.reread.extend(reread);
        }
        if new && !is_ours {
            self.estrange(&pod);
        }
        changes
    }

    /// Takes in that a warning is gone: the API server forgets them after an hour.
    pub fn delete_event(&mut self, event: &Event) -> Changes<N> {
        let (pod, meta) = (&event.involved_object.name, &event.metadata);
        let version = meta.version().max(1);
        let pod = self.warnings.drop_event(pod, &meta.name, version);
        self.read_again(pod)
    }

    /// Takes in that a complete list at `version` held only the events in `present`.
    pub fn retain_events(&mut self, present: &HashSet<String>, version: u64) -> Changes<N> {
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

    /// Warnings about a pod that is gone are kept as those of any other.
    pub(super) fn estrange(&mut self, pod: &str) {
        let pods = &self.pods;
        self.warnings.estrange(pod, |name| pods.contains_key(name));
    }

    fn read_again(&self, pod: Option<Arc<str>>) -> Changes<N> {
        let known = pod.filter(|pod| self.pods.contains_key(pod));
        Changes {
            reread: known.into_iter().collect(),
            ..Changes::default()
        }
    }
}
