//! Pods that anybody may have spoilt: each has a status that can be sent, and none spoils another.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::mutate::{self, Mutation};
use crate::index::Index;
use crate::objects::{Event, Node, Pod};
use crate::proto::encoded::Encoded;
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};
use crate::workspaces::entry::Workspace;
use crate::workspaces::filter::Filter;
use crate::workspaces::status::Defaults;

fn healthy() -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": "ws-crane", "uid": "1", "resourceVersion": "9",
            "labels": { "gpwsman": "true", "workspaceID": "crane", "workspaceType": "regular" },
            "annotations": { "gitpod/id": "crane", "gitpod/url": "https://crane.example.test", "gitpod.io/alreadyInitializing": "true" },
        },
        "spec": { "containers": [{ "name": "workspace", "image": "i" }], "nodeName": "node-a" },
        "status": { "phase": "Running" },
    }))
    .expect("a pod")
}

fn spoilt(mut value: Value, mutations: &[Mutation]) -> Value {
    for mutation in mutations {
        mutate::spoil(&mut value, mutation);
    }
    value
}

fn mutations(least: usize) -> impl Strategy<Value = Vec<Mutation>> {
    prop::collection::vec(any::<Mutation>(), least..8)
}

proptest! {
    #[test]
    fn a_spoilt_pod_spoils_no_other(
        pod in mutate::pods(),
        mutations in mutations(1),
        node in mutations(0),
        event in mutations(0),
        newer in mutations(0),
    ) {
        let mut index = Index::<Workspace>::new(Defaults::default());
        if let Ok(node) = serde_json::from_value::<Node>(spoilt(mutate::node(), &node)) {
            index.apply_node(node);
        }
        index.apply_pod(&healthy());
        let before = index.by_id("crane").expect("it is there").status().clone();
        let mut pod = pod;
        pod["metadata"]["labels"]["gpwsman"] = "true".into();
        let warning = json!({
            "metadata": { "name": "e" }, "involvedObject": { "kind": "Pod", "name": "ws-heron" },
            "type": "Warning", "reason": "FailedMount", "message": "no volume",
        });
        let mut updates = Vec::new();
        for (version, mutations) in [(10, &mutations), (11, &newer)] {
            let mut pod = spoilt(pod.clone(), mutations);
            if pod["metadata"].is_object() {
                pod["metadata"]["resourceVersion"] = version.to_string().into();
            }
            if let Ok(pod) = serde_json::from_value::<Pod>(pod) {
                updates.extend(index.apply_pod(&pod).updates);
            }
            if let Ok(event) = serde_json::from_value::<Event>(spoilt(warning.clone(), &event)) {
                index.apply_event(event);
            }
        }
        let published = updates.iter().map(|update| &update.status);
        for status in published.filter(|status| status.id() != "crane") {
            let read = status.read();
            prop_assert!(WorkspacePhase::try_from(read.phase).is_ok());
            prop_assert_eq!(&Encoded::new(read), status);
        }
        if !updates.iter().any(|update| update.status.id() == "crane") {
            prop_assert_eq!(index.by_id("crane").expect("it is there").status(), &before);
            prop_assert!(index.visible().any(|group| *group.status() == before));
        }
    }

    #[test]
    fn what_is_left_of_a_spoilt_pod_is_read_as_it_is_written(
        pod in mutate::pods(),
        mutations in mutations(0),
        node in mutations(0),
    ) {
        let pod: Pod = serde_json::from_value(spoilt(pod, &mutations)).unwrap_or_default();
        let written = serde_json::to_string(&pod).unwrap();
        prop_assert_eq!(serde_json::from_str::<Pod>(&written).unwrap(), pod);
        let node: Node = serde_json::from_value(spoilt(mutate::node(), &node)).unwrap_or_default();
        let written = serde_json::to_string(&node).unwrap();
        prop_assert_eq!(serde_json::from_str::<Node>(&written).unwrap(), node);
    }

    #[test]
    fn a_filter_matches_what_it_was_made_from(
        owner in "[ab]{0,2}", meta_id in "[ab]{0,2}",
        annotations in prop::collection::btree_map("[ab]", "[ab]?", 0..3),
        other in "[cd]", key in "[cd]",
    ) {
        use crate::proto::wsman::{MetadataFilter, WorkspaceMetadata};
        let metadata = WorkspaceMetadata {
            owner: owner.clone(), meta_id: meta_id.clone(), annotations: annotations.clone(), ..Default::default()
        };
        let status = WorkspaceStatus { metadata: Some(metadata), ..Default::default() };
        let status = Encoded::new(status);
        let exact = MetadataFilter { owner, meta_id, annotations };
        let matches = |filter: &MetadataFilter| Filter::parse(Some(filter.clone())).unwrap().matches(&status);
        prop_assert!(matches(&exact) && matches(&MetadataFilter::default()));
        let another_owner = MetadataFilter { owner: other.clone(), ..exact.clone() };
        let another_id = MetadataFilter { meta_id: other.clone(), ..exact.clone() };
        prop_assert!(!matches(&another_owner) && !matches(&another_id));
        let mut more = exact;
        more.annotations.insert(key, other);
        prop_assert!(!matches(&more));
    }
}
