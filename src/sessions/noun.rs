//! What sessions register with the core: which pods are theirs, what is kept of one, and how they fold.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};

use jiff::Timestamp;

use super::Sessions;
use super::decide;
use super::marks::{FINALIZER, KIND, label};
use super::member::{self, Member};
use super::rules::SessionRules;
use super::status;
use super::survey::Survey;
use super::update::SessionUpdate;
use super::view::View;
use crate::decision::{Decision, Together};
use crate::index::Index;
use crate::index::noun::{About, Group, Membership, Noun};
use crate::index::observed::Observed;
use crate::objects::{Node, Pod};
use crate::proto::wsman::sessions::v1::{Phase, SessionStatus};

impl Noun for Sessions {
    const KIND: &'static str = "session";

    type Defaults = ();
    type Entry = Member;
    type Update = SessionUpdate;
    type Policy = SessionRules;
    type Step = Infallible;
    type Case = ();

    fn membership(pod: &Pod) -> Option<Membership> {
        member::membership(pod)
    }

    fn is_stray(pod: &Pod) -> bool {
        let meta = &pod.metadata;
        meta.label(label::KIND) != Some(KIND) && meta.label(label::GROUP).is_some()
    }

    fn read(observed: &Observed<'_>, (): &()) -> Member {
        Member::read(observed)
    }

    fn unreadable(entry: &Member) -> &str {
        entry
            .anchor
            .as_deref()
            .map_or("", |anchor| &anchor.unreadable)
    }

    fn id(group: &Group<Self>) -> &str {
        &group.name
    }

    fn fold(group: &Group<Self>, (): &()) -> SessionUpdate {
        let view = View::of(group);
        let version = group.version();
        let status = view.as_ref().map_or_else(
            || SessionStatus {
                version,
                ..SessionStatus::default()
            },
            |view| {
                let status = status::fold(view.anchor, &view.seen, view.decider, version);
                match view.lead.gone && !view.is_recorded() {
                    true => status::lost(status, &view.lead.pod.name),
                    false => status,
                }
            },
        );
        SessionUpdate {
            id: Arc::clone(&group.name),
            start_uid: Arc::clone(&group.key),
            spec: view
                .map(|view| Arc::clone(&view.anchor.spec))
                .unwrap_or_default(),
            status,
            message: OnceLock::new(),
        }
    }

    fn decide(
        &self,
        index: &Index<Self>,
        key: &str,
        rules: &SessionRules,
        now: Timestamp,
    ) -> Option<Decision<Infallible>> {
        if let Some(stray) = index.stray(key) {
            return Some(stray.decide((label::KIND, KIND), FINALIZER));
        }
        let group = index.group(key)?;
        let service = || index.service(&group.name, key).is_some();
        let has_service = index.has_services().then(service);
        Some(decide::decide(group, has_service, rules, now))
    }

    fn decide_together(
        &self,
        index: &Index<Self>,
        rules: &SessionRules,
        now: Timestamp,
    ) -> Together<Infallible> {
        match index.is_listed() {
            true => Survey::of(index, rules).together(now),
            false => Together::default(),
        }
    }

    fn is_shared(before: Option<&Member>, after: Option<&Member>) -> bool {
        let shares = |member: &Member| {
            let anchor = member.anchor.as_deref();
            (
                member.is_gated,
                member.holds_slot,
                member.is_over() || member.outcome.is_some() || member.is_deleting,
                anchor.map(|anchor| (anchor.admitted_at, anchor.stop.is_some())),
            )
        };
        before.map(shares) != after.map(shares)
    }

    fn depends_on_node(before: &Node, after: &Node) -> bool {
        before.spec.taints != after.spec.taints
            || before.status.is_ready() != after.status.is_ready()
    }

    fn shares_nodes(before: Option<&Node>, after: Option<&Node>) -> bool {
        let shares = |node: &Node| {
            (
                node.metadata.labels.clone(),
                node.metadata.deletion_timestamp,
                node.spec.clone(),
                node.status.is_ready(),
                node.status.allocatable.clone(),
            )
        };
        before.map(shares) != after.map(shares)
    }

    fn case(&self, _: &Index<Self>, _: &str, _: &SessionRules, _: Timestamp) {}

    fn about(group: &Group<Self>) -> About {
        let update = Self::fold(group, &());
        let status = &update.status;
        About {
            id: group.name.to_string(),
            owner: update.spec.queue.clone(),
            meta_id: String::new(),
            reason: (status.phase() != Phase::Unspecified)
                .then(|| format!("{} {}", status.phase().as_str_name(), status.reason)),
        }
    }
}
