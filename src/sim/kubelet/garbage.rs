//! Deletes what belongs to pods that are gone, for API servers without a garbage collector.

use std::collections::{HashMap, HashSet};
use std::fmt::Debug;

use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Preconditions};
use kube::core::{NamespaceResourceScope, PartialObjectMeta};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use super::informer::{Change, watch};

/// Collects secrets, services and config maps, of one namespace or of all, for ever.
pub(crate) async fn run(client: Client, namespace: Option<&str>) {
    tokio::join!(
        collect::<Secret>(&client, namespace),
        collect::<Service>(&client, namespace),
        collect::<ConfigMap>(&client, namespace),
    );
}

type Meta<K> = PartialObjectMeta<K>;

/// The owners of a dependant, when all of them are pods.
fn owners<K>(object: &Meta<K>) -> Option<&[OwnerReference]> {
    let owners = object.metadata.owner_references.as_deref()?;
    let pods = owners
        .iter()
        .all(|owner| owner.kind == "Pod" && owner.api_version == "v1");
    (pods && !owners.is_empty()).then_some(owners)
}

async fn collect<K>(client: &Client, namespace: Option<&str>)
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + 'static,
{
    let pods = watch::<Meta<Pod>>(scoped(client, namespace));
    let dependants = watch::<Meta<K>>(scoped(client, namespace));
    tokio::pin!(pods, dependants);
    let mut known: HashMap<ObjectRef<Meta<K>>, Meta<K>> = HashMap::new();
    let mut alive: HashMap<ObjectRef<Meta<Pod>>, String> = HashMap::new();
    let mut synced = false;
    loop {
        let suspects: Vec<Meta<K>> = tokio::select! {
            Some(change) = pods.next() => match change {
                Change::Apply(pod) => {
                    let uid = pod.uid().unwrap_or_default();
                    let replaced = alive.insert(ObjectRef::from_obj(&pod), uid.clone());
                    match replaced.filter(|old| *old != uid) {
                        Some(old) => owned_by(&known, &old),
                        None => Vec::new(),
                    }
                }
                Change::Delete(key) => match alive.remove(&key) {
                    Some(uid) => owned_by(&known, &uid),
                    None => Vec::new(),
                },
                Change::Synced => {
                    synced = true;
                    known.values().cloned().collect()
                }
            },
            Some(change) = dependants.next() => match change {
                Change::Apply(object) => {
                    known.insert(ObjectRef::from_obj(&object), object.clone());
                    vec![object]
                }
                Change::Delete(key) => {
                    known.remove(&key);
                    Vec::new()
                }
                Change::Synced => Vec::new(),
            },
        };
        if !synced {
            continue;
        }
        let uids: HashSet<&String> = alive.values().collect();
        for suspect in suspects {
            let Some(owners) = owners(&suspect) else {
                continue;
            };
            if owners.iter().any(|owner| uids.contains(&owner.uid)) {
                continue;
            }
            if let Err(error) = delete::<K>(client, &suspect, owners).await {
                tracing::debug!(%error, name = suspect.name_any(), "a dependant stays for now");
            }
        }
    }
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<Meta<K>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

fn owned_by<K>(known: &HashMap<ObjectRef<Meta<K>>, Meta<K>>, uid: &str) -> Vec<Meta<K>>
where
    K: Resource<DynamicType = ()> + Clone,
{
    let owned = |o: &&Meta<K>| owners(*o).is_some_and(|all| all.iter().any(|r| r.uid == uid));
    known.values().filter(owned).cloned().collect()
}

/// Deletes a dependant, once the API server has confirmed that none of its owners exists: the watch may lag.
async fn delete<K>(client: &Client, object: &Meta<K>, owners: &[OwnerReference]) -> kube::Result<()>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned,
{
    let namespace = object.namespace().unwrap_or_default();
    let pods: Api<Pod> = Api::namespaced(client.clone(), &namespace);
    for owner in owners {
        let pod = pods.get_metadata_opt(&owner.name).await?;
        if pod.and_then(|pod| pod.uid()).as_ref() == Some(&owner.uid) {
            return Ok(());
        }
    }
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let mut params = DeleteParams::background();
    params.preconditions = Some(Preconditions {
        uid: object.uid(),
        resource_version: None,
    });
    match api.delete(&object.name_any(), &params).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map(drop),
    }
}
