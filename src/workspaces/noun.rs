//! What workspaces register with the core: which pods are theirs, what is kept of one, and how they fold.

use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use super::case::Case;
use super::content::step::Step;
use super::decide::LifecyclePolicy;
use super::ending;
use super::entry::{Entry, Workspace, place};
use super::lifecycle::{self, LifecycleInput};
use super::marks::{FINALIZER, annotation, label};
use super::recreate;
use super::status::{self, Defaults};
use super::update::StatusUpdate;
use crate::decision::Decision;
use crate::index::Index;
use crate::index::noun::{About, Group, Membership, Noun};
use crate::index::observed::Observed;
use crate::objects::{Event, Meta, Pod};
use crate::proto::answers::EncodedStatus;

impl Noun for Workspace {
    const KIND: &'static str = "workspace";

    type Defaults = Defaults;
    type Entry = Entry;
    type Update = StatusUpdate;
    type Policy = LifecyclePolicy;
    type Step = Step;
    type Case = Case;

    fn membership(pod: &Pod) -> Option<Membership> {
        is_workspace(&pod.metadata).then(|| place(pod))
    }

    fn is_stray(pod: &Pod) -> bool {
        status::is_unmarked(&pod.metadata) && status::id(&pod.metadata).is_some()
    }

    fn read(observed: &Observed<'_>, defaults: &Defaults) -> Entry {
        Entry::read(observed, defaults)
    }

    fn unreadable(entry: &Entry) -> &str {
        &entry.state.unreadable
    }

    fn keeps(event: &Event) -> bool {
        status::is_kept(event)
    }

    fn depends_on(event: &Event, entry: &Entry) -> bool {
        status::depends_on(event, entry.state.pod_phase)
    }

    fn id(group: &Group<Self>) -> &str {
        &group.newest().entry.id
    }

    fn is_visible(group: &Group<Self>) -> bool {
        !recreate::is_left_over(group)
    }

    fn fold(group: &Group<Self>, _: &Defaults) -> StatusUpdate {
        let newest = group.newest();
        let entry = &newest.entry;
        let status = match newest.gone {
            true => EncodedStatus::new(status::gone(entry.status.read(), None)),
            false => entry.status.clone(),
        };
        StatusUpdate {
            start_uid: Arc::clone(&group.key),
            status,
            trace: entry.state.trace.clone(),
            message: OnceLock::new(),
        }
    }

    fn version_offset(defaults: &Defaults) -> u64 {
        defaults.version_offset
    }

    fn forget(&mut self, last: &StatusUpdate) {
        self.last_activity.forget(&last.status.id());
    }

    fn decide(
        &self,
        index: &Index<Self>,
        key: &str,
        policy: &LifecyclePolicy,
        now: Timestamp,
    ) -> Option<Decision<Step>> {
        if let Some(stray) = index.stray(key) {
            return Some(stray.decide((label::MARKER, "true"), FINALIZER));
        }
        let group = index.group(key)?;
        let services = |name: &str| index.service(name, key);
        let input = LifecycleInput {
            group,
            activity: self.activity(group),
            services: index.has_services().then_some(&services),
        };
        Some(lifecycle::step(&input, policy, now))
    }

    fn case(
        &self,
        index: &Index<Self>,
        key: &str,
        policy: &LifecyclePolicy,
        now: Timestamp,
    ) -> Case {
        let group = index.group(key);
        Case {
            activity: group.and_then(|group| self.activity(group)),
            policy: policy.clone(),
            now,
            ..group.map_or_else(Case::default, |group| Case::beside(group, index))
        }
    }

    fn about(group: &Group<Self>) -> About {
        let status = group.status().read();
        let reason = ending::reason(&status);
        let metadata = status.metadata.unwrap_or_default();
        About {
            id: status.id,
            owner: metadata.owner,
            meta_id: metadata.meta_id,
            reason,
        }
    }
}

/// A pod with the label by which we find ours is a workspace if it has an id, or if we hold it: its id may have been taken
/// off since.
fn is_workspace(meta: &Meta) -> bool {
    let given = [
        meta.annotation(annotation::ID),
        meta.label(label::WORKSPACE_ID),
    ];
    let has_id = given.into_iter().flatten().any(|id| !id.is_empty());
    let held = meta.finalizers.iter().any(|f| f == FINALIZER);
    meta.label(label::MARKER) == Some("true") && (has_id || held && status::id(meta).is_some())
}
