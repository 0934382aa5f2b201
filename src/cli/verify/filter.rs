//! Picks a filter from a list, so that the second stream receives only some updates.

use std::collections::BTreeMap;

use crate::proto::wsman::{MetadataFilter, WorkspaceStatus};

/// Returns the owner, or otherwise the annotation, that matches closest to half of the workspaces; none for an empty
/// list.
pub(super) fn draw(listed: &[WorkspaceStatus]) -> Option<MetadataFilter> {
    let metadata = || listed.iter().filter_map(|status| status.metadata.as_ref());
    let owners = metadata().map(|metadata| MetadataFilter {
        owner: metadata.owner.clone(),
        ..MetadataFilter::default()
    });
    let annotations = metadata().flat_map(|metadata| {
        let pairs = metadata.annotations.iter();
        pairs.map(|(key, value)| MetadataFilter {
            annotations: BTreeMap::from([(key.clone(), value.clone())]),
            ..MetadataFilter::default()
        })
    });
    let mut matches: Vec<(MetadataFilter, usize)> = Vec::new();
    for filter in owners.chain(annotations) {
        if filter == MetadataFilter::default() {
            continue;
        }
        if let Some((_, count)) = matches.iter_mut().find(|(known, _)| *known == filter) {
            *count += 1;
        } else if matches.len() < 256 {
            // A few hundred candidates are enough.
            matches.push((filter, 1));
        }
    }
    let distance = |count: usize| (2 * count).abs_diff(listed.len());
    matches
        .into_iter()
        .min_by_key(|(_, count)| distance(*count))
        .map(|(filter, _)| filter)
}

#[cfg(test)]
mod tests {
    use super::draw;
    use crate::proto::wsman::{WorkspaceMetadata, WorkspaceStatus};

    fn of(owner: &str, team: &str) -> WorkspaceStatus {
        let annotations = [("team".to_owned(), team.to_owned())];
        WorkspaceStatus {
            metadata: Some(WorkspaceMetadata {
                owner: owner.to_owned(),
                annotations: annotations.into_iter().collect(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn the_filter_that_halves_best_is_drawn() {
        let listed = [of("jane", "blue"), of("jane", "red"), of("jane", "blue")];
        let filter = draw(&listed).unwrap();
        assert_eq!(filter.annotations["team"], "blue");
        let listed = [of("jane", "blue"), of("joe", "blue")];
        assert_eq!(draw(&listed).unwrap().owner, "jane");
        assert_eq!(draw(&[]), None);
    }
}
