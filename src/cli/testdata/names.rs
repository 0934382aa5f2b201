//! What stands for the names of a log: the same name always for the same thing, and nothing that identifies it.

use std::collections::BTreeMap;

/// What is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Id,
    Pod,
    Uid,
    Namespace,
    Owner,
    MetaId,
    Project,
    Team,
    Class,
    Node,
    Address,
    Container,
    Host,
    Registry,
    /// Part of an image's path. It may be any word, so texts are searched for whole paths and images.
    Repository,
    Image,
    Event,
    Mark,
    Value,
    Text,
    Finalizer,
    Taint,
}

/// What is looked for in texts. All else may be any word.
const IN_TEXTS: [Kind; 13] = [
    Kind::Id,
    Kind::Pod,
    Kind::Uid,
    Kind::Namespace,
    Kind::Owner,
    Kind::MetaId,
    Kind::Project,
    Kind::Team,
    Kind::Node,
    Kind::Address,
    Kind::Host,
    Kind::Registry,
    Kind::Image,
];
/// Shorter names are part of too many words.
const SHORTEST: usize = 3;

/// The names that were given.
#[derive(Debug, Default)]
pub(super) struct Names {
    given: BTreeMap<Kind, BTreeMap<String, String>>,
}

impl Names {
    /// Returns what stands for a name; nothing stands for nothing.
    pub(super) fn give(&mut self, kind: Kind, name: &str) -> String {
        if name.is_empty() {
            return String::new();
        }
        let given = self.given.entry(kind).or_default();
        let next = given.len() + 1;
        let new = || shape(kind, next);
        given.entry(name.to_owned()).or_insert_with(new).clone()
    }

    /// Notes what stands for a name that is made of others.
    pub(super) fn note(&mut self, kind: Kind, name: &str, new: &str) {
        let given = self.given.entry(kind).or_default();
        given.insert(name.to_owned(), new.to_owned());
    }

    /// Replaces the names that were given, wherever they are words of a text; the longest first.
    pub(super) fn text(&self, text: &str) -> String {
        let all = IN_TEXTS.iter().filter_map(|kind| self.given.get(kind));
        let all = all.flatten();
        let mut all: Vec<_> = all.filter(|(name, _)| name.len() >= SHORTEST).collect();
        all.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        let mut shown = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let begins = !shown.chars().next_back().is_some_and(char::is_alphanumeric);
            let found = all.iter().find(|(name, _)| {
                let after = rest.strip_prefix(name.as_str());
                after.is_some_and(|after| !after.starts_with(char::is_alphanumeric))
            });
            match found.filter(|_| begins) {
                Some((name, new)) => {
                    shown.push_str(new);
                    rest = &rest[name.len()..];
                }
                None => {
                    shown.push(next);
                    rest = &rest[next.len_utf8()..];
                }
            }
        }
        shown
    }
}

fn shape(kind: Kind, number: usize) -> String {
    match kind {
        Kind::Id => format!("id-{number}"),
        Kind::Pod => format!("pod-{number}"),
        Kind::Uid => format!("00000000-0000-4000-8000-{number:012}"),
        Kind::Namespace => format!("namespace-{number}"),
        Kind::Owner => format!("owner-{number}"),
        Kind::MetaId => format!("meta-{number}"),
        Kind::Project => format!("project-{number}"),
        Kind::Team => format!("team-{number}"),
        Kind::Class => format!("class-{number}"),
        Kind::Node => format!("node-{number}"),
        // Addresses of documentation (RFC 5737 and 3849).
        Kind::Address if number < 255 => format!("192.0.2.{number}"),
        Kind::Address => format!("2001:db8::{number:x}"),
        Kind::Container => format!("container-{number}"),
        Kind::Host => format!("host-{number}.example.com"),
        Kind::Registry => format!("registry-{number}.example.com"),
        Kind::Repository | Kind::Image => format!("image-{number}"),
        Kind::Event => format!("event-{number}"),
        Kind::Mark => format!("mark-{number}"),
        Kind::Value => format!("value-{number}"),
        Kind::Text => format!("text-{number}"),
        Kind::Finalizer => format!("example.com/finalizer-{number}"),
        Kind::Taint => format!("example.com/taint-{number}"),
    }
}
