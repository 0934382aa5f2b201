//! Encoded statuses result in the same bytes as the generated types.

use super::*;
use crate::wsman;

fn status() -> WorkspaceStatus {
    WorkspaceStatus {
        id: "one".to_owned(),
        status_version: 7,
        metadata: Some(WorkspaceMetadata {
            owner: "jane".to_owned(),
            annotations: BTreeMap::from([("team".to_owned(), "blue".to_owned())]),
            ..Default::default()
        }),
        phase: WorkspacePhase::Running.into(),
        message: "äöü".to_owned(),
        ..Default::default()
    }
}

#[test]
fn a_status_comes_back_as_it_went_in() {
    let encoded = EncodedStatus::new(status());
    assert_eq!(encoded.read(), status());
    assert_eq!((encoded.id().as_str(), encoded.version()), ("one", 7));
    assert_eq!(encoded.metadata(), status().metadata);
    let later = Encoded::new(WorkspaceStatus {
        status_version: 8,
        ..status()
    });
    assert!(encoded.same(&later) && encoded != later);
}

#[test]
fn responses_equal_the_generated_ones() {
    let encoded = || Encoded::new(status());
    let listed = GetWorkspacesResponse {
        status: vec![encoded(), encoded()],
    };
    assert_eq!(
        wsman::GetWorkspacesResponse::decode(&*listed.encode_to_vec()).unwrap(),
        wsman::GetWorkspacesResponse {
            status: vec![status(), status()]
        }
    );
    let described = DescribeWorkspaceResponse {
        status: Some(encoded()),
        last_activity: "now".to_owned(),
    };
    assert_eq!(
        wsman::DescribeWorkspaceResponse::decode(&*described.encode_to_vec()).unwrap(),
        wsman::DescribeWorkspaceResponse {
            status: Some(status()),
            last_activity: "now".to_owned()
        }
    );
    let header = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
    let sent = SubscribeResponse::new(Some(&encoded()), &header);
    assert_eq!(
        wsman::SubscribeResponse::decode(&*sent.encode_to_vec()).unwrap(),
        wsman::SubscribeResponse {
            status: Some(status()),
            header
        }
    );
    for length in [
        (listed.encoded_len(), listed.encode_to_vec().len()),
        (described.encoded_len(), described.encode_to_vec().len()),
        (sent.encoded_len(), sent.encode_to_vec().len()),
    ] {
        assert_eq!(length.0, length.1);
    }
}
