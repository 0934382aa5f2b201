//! Pods of ours that lost the label by which we find them. The watch of the others says of such a pod that it is gone; a
//! watch of its own finds it, and the label is put back: else nobody would ever end it.

use std::collections::HashSet;
use std::sync::Arc;

use super::noun::Noun;
use super::{Changes, Index, reference};
use crate::action::{Action, PodRef};
use crate::decision::Decision;
use crate::objects::Pod;

/// A pod that lost its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray<'a> {
    pub pod: &'a PodRef,
    /// Its end was published already.
    pub ended: bool,
}

impl Stray<'_> {
    /// Decides to put the label back; to let a pod go whose end was published.
    pub fn decide<S>(
        &self,
        label: (&'static str, &'static str),
        finalizer: &'static str,
    ) -> Decision<S> {
        let pod = self.pod.clone();
        let (key, value) = label;
        let action = match self.ended {
            true => Action::RemoveFinalizer(pod, finalizer),
            false => Action::Label(pod, [(key, Some(value))].into()),
        };
        Decision {
            rule: "label taken off",
            actions: vec![action],
            ..Decision::default()
        }
    }
}

impl<N: Noun> Index<N> {
    /// Takes in a pod that lacks the label.
    pub fn apply_stray(&mut self, pod: &Pod) -> Changes<N> {
        let uid = pod.metadata.uid.as_str();
        if !N::is_stray(pod) {
            return self.delete_stray(uid);
        }
        let key: Arc<str> = uid.into();
        self.strays.insert(Arc::clone(&key), reference(pod));
        Changes {
            unreadable: vec![(
                pod.metadata.name.as_str().into(),
                "the label by which it is found was taken off".into(),
            )],
            dirty: vec![key],
            ..Changes::default()
        }
    }

    /// Takes in that a pod has the label again, or is gone.
    pub fn delete_stray(&mut self, uid: &str) -> Changes<N> {
        let known = self.strays.remove_entry(uid);
        Changes {
            // Its end may have been published while it was a stray.
            dirty: known.into_iter().map(|(key, _)| key).collect(),
            ..Changes::default()
        }
    }

    /// Takes in that a complete list held only the strays in `present`.
    pub fn retain_strays(&mut self, present: &HashSet<String>) -> Changes<N> {
        let strays = self.strays.iter();
        let gone = strays.filter(|(_, pod)| !present.contains(&pod.name));
        let gone: Vec<Arc<str>> = gone.map(|(key, _)| Arc::clone(key)).collect();
        let mut changes = Changes::default();
        for key in gone {
            changes.extend(self.delete_stray(&key));
        }
        changes
    }

    /// Returns the stray with a uid.
    pub fn stray(&self, uid: &str) -> Option<Stray<'_>> {
        let pod = self.strays.get(uid)?;
        let ended = self.ended.contains(uid);
        Some(Stray { pod, ended })
    }
}

/// Whether a pod that the watch says is gone only lost the label: what a finalizer holds cannot go without being deleted
/// first.
pub fn only_strayed(pod: &Pod) -> bool {
    let meta = &pod.metadata;
    meta.deletion_timestamp.is_none() && !meta.finalizers.is_empty()
}
