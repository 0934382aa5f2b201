//! Which workspaces a caller asked for (spec 6.1 "filter").

use crate::proto::encoded::Encoded;
use crate::proto::wsman::MetadataFilter;

/// A `MetadataFilter`; without one everything matches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter(Option<MetadataFilter>);

/// What a workspace can be looked up by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// Whose it is.
    Owner(String),
    /// Its meta id.
    MetaId(String),
    /// A word and what the caller noted under it.
    Annotation(String, String),
}

impl Key {
    /// Returns the keys of a workspace.
    pub fn of(status: &Encoded) -> Vec<Self> {
        let Some(metadata) = status.metadata() else {
            return Vec::new();
        };
        let noted = metadata.annotations.into_iter();
        [Self::Owner(metadata.owner), Self::MetaId(metadata.meta_id)]
            .into_iter()
            .chain(noted.map(|(word, value)| Self::Annotation(word, value)))
            .collect()
    }
}

impl Filter {
    /// Returns the filter of a request.
    pub fn new(must_match: Option<MetadataFilter>) -> Self {
        Self(must_match)
    }

    /// Whether owner and meta id are equal where given, and every annotation is there.
    pub fn matches(&self, status: &Encoded) -> bool {
        let Some(filter) = &self.0 else { return true };
        let Some(metadata) = status.metadata() else {
            return false;
        };
        (filter.owner.is_empty() || filter.owner == metadata.owner)
            && (filter.meta_id.is_empty() || filter.meta_id == metadata.meta_id)
            && filter
                .annotations
                .iter()
                .all(|(key, value)| metadata.annotations.get(key) == Some(value))
    }

    /// Returns a key that everything that matches has: the one that the fewest should have.
    pub fn key(&self) -> Option<Key> {
        let filter = self.0.as_ref()?;
        if !filter.meta_id.is_empty() {
            return Some(Key::MetaId(filter.meta_id.clone()));
        }
        if !filter.owner.is_empty() {
            return Some(Key::Owner(filter.owner.clone()));
        }
        let (word, value) = filter.annotations.iter().next()?;
        Some(Key::Annotation(word.clone(), value.clone()))
    }
}
