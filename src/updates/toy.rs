//! The smallest update, for the laws of updates and of the outbox.

use std::sync::Arc;

use super::{Filter, Update};

/// An update of a group that has a name, an owner and a number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Toy {
    pub(crate) group: Arc<str>,
    pub(crate) uid: Arc<str>,
    pub(crate) owner: &'static str,
    pub(crate) version: u64,
    pub(crate) is_last: bool,
}

impl Toy {
    /// Returns an update of a start that continues.
    pub(crate) fn new(group: &str, version: u64) -> Self {
        Self {
            group: group.into(),
            uid: group.into(),
            owner: "jane",
            version,
            is_last: false,
        }
    }

    /// Returns the last update of a start.
    pub(crate) fn last(group: &str, version: u64) -> Self {
        Self {
            is_last: true,
            ..Self::new(group, version)
        }
    }
}

/// Groups are found by name and by owner; the filter does the rest.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum ToyTopic {
    Group(Arc<str>),
    Owner(&'static str),
}

/// An empty field matches everything.
#[derive(Debug, Default)]
pub(crate) struct ToyFilter {
    pub(crate) group: &'static str,
    pub(crate) owner: &'static str,
}

impl Update for Toy {
    type Topic = ToyTopic;
    type Filter = ToyFilter;

    fn group_id(&self) -> Arc<str> {
        Arc::clone(&self.group)
    }

    fn start_uid(&self) -> &Arc<str> {
        &self.uid
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn is_last(&self) -> bool {
        self.is_last
    }

    fn topics(&self) -> Vec<ToyTopic> {
        vec![
            ToyTopic::Group(Arc::clone(&self.group)),
            ToyTopic::Owner(self.owner),
        ]
    }

    fn same(&self, other: &Self) -> bool {
        self.at(other.version) == *other
    }

    fn at(&self, version: u64) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }

    fn size(&self) -> usize {
        self.group.len()
    }
}

impl Filter<Toy> for ToyFilter {
    fn matches(&self, update: &Toy) -> bool {
        (self.group.is_empty() || self.group == &*update.group)
            && (self.owner.is_empty() || self.owner == update.owner)
    }

    fn topic(&self) -> Option<ToyTopic> {
        match (self.group, self.owner) {
            ("", "") => None,
            ("", owner) => Some(ToyTopic::Owner(owner)),
            (group, _) => Some(ToyTopic::Group(group.into())),
        }
    }
}
