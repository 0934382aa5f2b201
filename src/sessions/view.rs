//! A session as its rules see it: its anchor, and its components in the order of the spec, each with its pod.

use std::collections::HashMap;

use jiff::Timestamp;

use super::Sessions;
use super::member::{Anchor, Member};
use super::status::{Bound, Pod, Seen};
use crate::index::noun::{Group, Member as Kept};

/// A session whose anchor was seen.
#[derive(Debug)]
pub struct View<'a> {
    pub group: &'a Group<Sessions>,
    /// The pod of the decider.
    pub lead: &'a Kept<Sessions>,
    pub anchor: &'a Anchor,
    /// All components, in the order of the spec.
    pub seen: Vec<Seen<'a>>,
    /// Place of the decider among them.
    pub decider: usize,
}

impl<'a> View<'a> {
    /// Returns the view of a group; `None` while its anchor was not seen.
    pub fn of(group: &'a Group<Sessions>) -> Option<Self> {
        let lead = group
            .members()
            .find(|member| *member.pod.uid == *group.key)?;
        let anchor = lead.entry.anchor.as_deref()?;
        let pods: HashMap<&str, &Kept<Sessions>> = group
            .members()
            .filter(|member| member.pod.uid != lead.pod.uid)
            .map(|member| (&*member.entry.component, member))
            .collect();
        let components = &anchor.spec.components;
        let seen: Vec<_> = components
            .iter()
            .map(|component| {
                let found = match component.name == anchor.spec.decider {
                    true => Some(lead),
                    false => pods.get(component.name.as_str()).copied(),
                };
                Seen {
                    component,
                    pod: found.map_or(Pod::Missing, pod),
                }
            })
            .collect();
        let decider = components
            .iter()
            .position(|component| component.name == anchor.spec.decider);
        Some(Self {
            group,
            lead,
            anchor,
            seen,
            decider: decider.unwrap_or(usize::MAX),
        })
    }

    /// Returns the id of the session.
    pub fn id(&self) -> &'a str {
        &self.group.name
    }

    /// Returns the pods of all members that are there, the anchor first.
    pub fn living(&self) -> impl Iterator<Item = &'a Kept<Sessions>> {
        self.group.living()
    }

    /// Returns the pods of the workers that are there.
    pub fn others(&self) -> impl Iterator<Item = &'a Kept<Sessions>> {
        let lead = &self.lead.pod.uid;
        self.living().filter(move |member| member.pod.uid != *lead)
    }

    /// Whether the session ended: nothing changes its outcome.
    pub fn is_over(&self) -> bool {
        self.is_recorded() || self.lead.gone
    }

    /// Whether its end is on its anchor.
    pub fn is_recorded(&self) -> bool {
        self.lead.entry.outcome.is_some() || self.lead.entry.is_over()
    }

    /// Whether it was admitted. A pod without its gate shows that, too.
    pub fn is_admitted(&self) -> bool {
        self.anchor.admitted_at.is_some() || self.group.members().any(|m| !m.entry.is_gated)
    }

    /// Whether every component has its pod, and none was ever lost.
    pub fn is_complete(&self) -> bool {
        self.seen
            .iter()
            .all(|seen| matches!(seen.pod, Pod::There(..)))
    }

    /// Whether it waits for its admission.
    pub fn waits(&self) -> bool {
        !self.is_over()
            && !self.is_admitted()
            && self.anchor.stop.is_none()
            && !self.lead.entry.is_deleting
            && self.anchor.unreadable.is_empty()
    }

    /// Returns when its components were all ready and its decider began; `None` before.
    pub fn running_since(&self) -> Option<Timestamp> {
        let started = self.lead.entry.started?;
        let released = self.anchor.released_at;
        Some(released.map_or(started, |at| at.max(started)))
    }

    /// Returns the workers: the pods of all components but the decider.
    pub fn workers(&self) -> impl Iterator<Item = &Seen<'a>> {
        let decider = self.decider;
        let all = self.seen.iter().enumerate();
        all.filter(move |(place, _)| *place != decider)
            .map(|(_, seen)| seen)
    }
}

fn pod(kept: &Kept<Sessions>) -> Pod<'_> {
    let bound = Bound {
        pod: &kept.pod.name,
        node: &kept.node,
    };
    match kept.gone {
        true => Pod::Gone(&kept.entry, bound),
        false => Pod::There(&kept.entry, bound),
    }
}

impl<'a> Pod<'a> {
    /// Returns what is kept of it, whether it is there or not.
    pub fn entry(self) -> Option<&'a Member> {
        match self {
            Pod::Missing => None,
            Pod::There(member, _) | Pod::Gone(member, _) => Some(member),
        }
    }
}
