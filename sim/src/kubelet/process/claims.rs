//! Removes the contents of claims that are gone.

use std::collections::HashSet;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, ResourceExt};

use super::Shared;
use super::sources::Reader;
use crate::kubelet::informer::{Change, watch};

type Claim = PartialObjectMeta<PersistentVolumeClaim>;

/// Follows the claims, for ever.
pub(crate) async fn run(shared: &Arc<Shared>, namespace: Option<&str>) {
    let client = shared.client.clone();
    let api: Api<Claim> = match namespace {
        Some(namespace) => Api::namespaced(client, namespace),
        None => Api::all(client),
    };
    let changes = watch(api);
    tokio::pin!(changes);
    let mut known = HashSet::new();
    while let Some(change) = changes.next().await {
        match change {
            Change::Apply(claim) => {
                let namespace = claim.namespace().unwrap_or_default();
                known.insert((namespace, claim.name_any()));
            }
            Change::Delete(ObjectRef {
                name, namespace, ..
            }) => {
                let key = (namespace.unwrap_or_default(), name);
                known.remove(&key);
                remove(shared, &key).await;
            }
            Change::Synced => {
                let ours = |of: &str| namespace.is_none_or(|namespace| namespace == of);
                let all = shared.directories.all_claims().into_iter();
                for key in all.filter(|key| ours(&key.0) && !known.contains(key)) {
                    remove(shared, &key).await;
                }
            }
        }
    }
}

/// Removes the contents, unless they already are those of a new claim.
async fn remove(shared: &Arc<Shared>, (namespace, name): &(String, String)) {
    let reader = Reader::new(shared.client.clone(), namespace);
    let Ok(uid) = reader.claim(name).await else {
        return;
    };
    if let Err(error) = shared
        .directories
        .remove_claim(namespace, name, uid.as_deref())
    {
        tracing::warn!(%error, namespace, name, "the contents of a claim stay");
    }
}
