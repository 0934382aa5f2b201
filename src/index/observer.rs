//! Who sees the inputs of the index and the answers to them. An index that nobody observes keeps nothing for it.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use super::Index;
use super::input::Input;
use super::noun::Noun;
use super::observed::Objects;
use crate::decision::Decision;

/// Sees every input before it is folded, and the answers, in order. It is called under the lock of the hub: it hands
/// over what it wants and returns.
pub trait Observer<N: Noun>: fmt::Debug + Send + Sync {
    /// Sees one thing. Must neither wait nor fail.
    fn see(&self, seen: &Seen<'_, N>);
}

/// What an observer sees.
#[derive(Debug)]
pub enum Seen<'a, N: Noun> {
    /// An input that is about to be folded.
    Input(&'a Input<'a>),
    /// The clock was read, to decide.
    Clock(Timestamp),
    /// A pod was folded.
    Status(&'a Folded<N>),
    /// The last update of a group.
    Ended(&'a N::Update),
    /// What a group needs.
    Decision(&'a Decided<N>),
}

/// What is kept of a pod, and what it was folded from.
#[derive(Debug, Clone, PartialEq)]
pub struct Folded<N: Noun> {
    /// The pod and what was known beside it.
    pub objects: Arc<Objects<N::Defaults>>,
    /// What is kept of it.
    pub entry: N::Entry,
}

/// A decision, and what it was made from.
#[derive(Debug, Clone, PartialEq)]
pub struct Decided<N: Noun> {
    /// Name of the anchor.
    pub name: Arc<str>,
    /// The pods of the group with what was known beside them, by rank; of one that is gone, its last state.
    pub members: Vec<Arc<Objects<N::Defaults>>>,
    /// Everything else that it was made from.
    pub case: N::Case,
    /// The answer.
    pub decision: Decision<N::Step>,
}

impl<N: Noun> Index<N> {
    /// Keeps from now on what pods are folded from.
    pub fn observe(&mut self) {
        self.observed = true;
    }
}
