//! Which workspaces a call selects (docs/protocol.md#what-each-call-checks).

use prost::Message;

use super::id;
use crate::error::{Error, FieldViolation};
use crate::proto::answers::EncodedStatus;
use crate::proto::wsman::MetadataFilter;

/// Most annotations of a filter. Each stream keeps its filter, and checks every update.
const MAX_ANNOTATIONS: usize = 64;
/// Most bytes of a filter.
const MAX_BYTES: usize = 16 << 10;

/// A `MetadataFilter`; without one everything matches.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter(Option<MetadataFilter>);

/// The topics of subscriptions, which need not read the updates of all workspaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Topic {
    /// The owner.
    Owner(String),
    MetaId(String),
    /// Key and value of an annotation.
    Annotation(String, String),
}

impl Topic {
    /// Returns the topics of a workspace.
    pub fn of(status: &EncodedStatus) -> Vec<Self> {
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
    ///
    /// # Errors
    /// [`Error::Invalid`] if it is too large.
    pub fn parse(must_match: Option<MetadataFilter>) -> Result<Self, Error> {
        let filter = must_match.as_ref();
        let annotations = filter.map_or(0, |filter| filter.annotations.len());
        let bytes = filter.map_or(0, Message::encoded_len);
        let mut faults = Vec::new();
        if annotations > MAX_ANNOTATIONS {
            let why = format!("has {annotations}; at most {MAX_ANNOTATIONS} are possible");
            faults.push(FieldViolation::new("must_match.annotations", why));
        }
        if bytes > MAX_BYTES {
            let why = format!("has {bytes} bytes; at most {MAX_BYTES} are possible");
            faults.push(FieldViolation::new("must_match", why));
        }
        match faults.is_empty() {
            true => Ok(Self(must_match)),
            false => Err(id::invalid(faults)),
        }
    }

    /// Whether owner and meta id are equal, if given, and every annotation is there.
    pub fn matches(&self, status: &EncodedStatus) -> bool {
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

impl Filter {
    /// Returns a topic of every workspace that matches, the narrowest that is known.
    pub(super) fn topic(&self) -> Option<Topic> {
        let filter = self.0.as_ref()?;
        if !filter.meta_id.is_empty() {
            return Some(Topic::MetaId(filter.meta_id.clone()));
        }
        if !filter.owner.is_empty() {
            return Some(Topic::Owner(filter.owner.clone()));
        }
        let (word, value) = filter.annotations.iter().next()?;
        Some(Topic::Annotation(word.clone(), value.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::proto::encoded::Encoded;
    use crate::proto::wsman::{WorkspaceMetadata, WorkspaceStatus};
    use crate::updates::Update as _;
    use crate::workspaces::update::StatusUpdate;

    fn parse(annotations: usize, length: usize) -> Result<Filter, Vec<String>> {
        let annotation = |n| (format!("k{n:03}"), "x".repeat(length));
        let annotations: BTreeMap<_, _> = (0..annotations).map(annotation).collect();
        let filter = MetadataFilter {
            annotations,
            ..Default::default()
        };
        Filter::parse(Some(filter)).map_err(|error| match error {
            Error::Invalid { violations, .. } => violations.into_iter().map(|v| v.field).collect(),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn filters_have_a_size() {
        assert!(Filter::parse(None).is_ok());
        assert!(parse(MAX_ANNOTATIONS, 200).is_ok());
        let field = |name: &str| vec![name.to_owned()];
        assert_eq!(
            parse(MAX_ANNOTATIONS + 1, 1),
            Err(field("must_match.annotations"))
        );
        assert_eq!(parse(1, MAX_BYTES), Err(field("must_match")));
        assert_eq!(parse(60_000, 1).unwrap_err().len(), 2);
    }

    #[test]
    fn whatever_matches_has_the_topic_of_the_filter() {
        let status = WorkspaceStatus {
            metadata: Some(WorkspaceMetadata {
                owner: "jane".to_owned(),
                meta_id: "m".to_owned(),
                annotations: [("of".to_owned(), "us".to_owned())].into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let update = StatusUpdate::new("uid", Encoded::new(status));
        let topics = update.topics();
        let filter = |owner: &str, meta_id: &str, of: &[&str]| {
            let noted = of.iter().map(|of| ("of".to_owned(), (*of).to_owned()));
            Filter(Some(MetadataFilter {
                owner: owner.to_owned(),
                meta_id: meta_id.to_owned(),
                annotations: noted.collect(),
            }))
        };
        for owner in ["", "jane", "joe"] {
            for meta_id in ["", "m", "n"] {
                for of in [&[][..], &["us"], &["them"]] {
                    let filter = filter(owner, meta_id, of);
                    let is_right = [owner, meta_id]
                        .iter()
                        .all(|word| !["joe", "n"].contains(word));
                    let matches = filter.matches(&update.status);
                    assert_eq!(matches, is_right && of != ["them"], "{filter:?}");
                    let topic = filter.topic();
                    let is_all = owner.is_empty() && meta_id.is_empty() && of.is_empty();
                    assert_eq!(topic.is_none(), is_all, "{filter:?}");
                    if let (true, Some(topic)) = (matches, topic) {
                        assert!(topics.contains(&topic), "{filter:?}");
                    }
                }
            }
        }
    }
}
