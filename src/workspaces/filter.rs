//! Which workspaces a caller asked for (spec 6.1 "filter").

use crate::proto::encoded::Encoded;
use crate::proto::wsman::MetadataFilter;

/// A `MetadataFilter`; without one everything matches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter(Option<MetadataFilter>);

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
}
