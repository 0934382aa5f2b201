//! Pods of ours that lost the label by which we find them. The watch of the others says of such a pod that it is gone; a
//! watch of its own finds it, and the label is put back: else nobody would ever end it.

use std::collections::HashSet;
use std::sync::Arc;

use super::{Changes, Index, reference};
use crate::action::Action;
use crate::objects::Pod;
use crate::workspaces::lifecycle::Decision;
use crate::workspaces::marks::{FINALIZER, label};
use crate::workspaces::status;

impl Index {
    /// Takes in a pod that lacks the label.
    pub fn apply_stray(&mut self, pod: &Pod) -> Changes {
        if !status::is_unmarked(&pod.metadata) || status::id(&pod.metadata).is_none() {
            return self.delete_stray(&pod.metadata.name);
        }
        let name: Arc<str> = pod.metadata.name.as_str().into();
        self.strays.insert(Arc::clone(&name), reference(pod));
        Changes {
            unreadable: vec![(
                Arc::clone(&name),
                format!("label {} is not \"true\"", label::MARKER).into(),
            )],
            dirty: vec![name],
            ..Changes::default()
        }
    }

    /// Takes in that a pod has the label again, or is gone.
    pub fn delete_stray(&mut self, name: &str) -> Changes {
        let known = self.strays.remove_entry(name);
        Changes {
            // Its end may have been published while it was a stray.
            dirty: known.into_iter().map(|(name, _)| name).collect(),
            ..Changes::default()
        }
    }

    /// Takes in that a complete list held only the strays in `present`.
    pub fn retain_strays(&mut self, present: &HashSet<String>) -> Changes {
        let gone = self
            .strays
            .keys()
            .filter(|name| !present.contains(&***name));
        let gone: Vec<Arc<str>> = gone.cloned().collect();
        let mut changes = Changes::default();
        for name in gone {
            changes.extend(self.delete_stray(&name));
        }
        changes
    }

    /// Whether a pod that the watch says is gone only lost the label: what we hold cannot go without being deleted first.
    pub fn only_strayed(pod: &Pod) -> bool {
        let meta = &pod.metadata;
        meta.deletion_timestamp.is_none() && meta.finalizers.iter().any(|f| f == FINALIZER)
    }

    /// What a stray needs: its label, or, if its end was published already, to be let go.
    pub(super) fn decide_stray(&self, name: &str) -> Option<Decision> {
        let pod = self.strays.get(name)?.clone();
        let action = match self.ended.contains(&pod.uid) {
            true => Action::RemoveFinalizer(pod, FINALIZER),
            false => Action::Label(pod, label::MARKER, "true"),
        };
        Some(Decision {
            rule: "label taken off",
            actions: vec![action],
            ..Decision::default()
        })
    }
}
