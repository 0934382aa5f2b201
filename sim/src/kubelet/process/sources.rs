//! Reads the Secrets, ConfigMaps and claims that a pod refers to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use k8s_openapi::api::core::v1::{ConfigMap, Container, PersistentVolumeClaim, Secret};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::environment::{Objects, Sources};
use crate::kubelet::perform::TIMEOUT;

type Data = BTreeMap<String, Vec<u8>>;

/// The namespace of a pod.
#[derive(Clone)]
pub(crate) struct Reader {
    client: Client,
    namespace: String,
}

impl Reader {
    pub(crate) fn new(client: Client, namespace: &str) -> Reader {
        Reader {
            client,
            namespace: namespace.to_owned(),
        }
    }

    /// Everything that the variables of a container refer to.
    pub(crate) async fn of(&self, container: &Container) -> Result<Sources, String> {
        let (mut secrets, mut maps) = (BTreeSet::new(), BTreeSet::new());
        for from in container.env_from.iter().flatten() {
            secrets.extend(from.secret_ref.as_ref().map(|secret| &secret.name));
            maps.extend(from.config_map_ref.as_ref().map(|map| &map.name));
        }
        let variables = container.env.iter().flatten();
        for from in variables.filter_map(|variable| variable.value_from.as_ref()) {
            secrets.extend(from.secret_key_ref.as_ref().map(|key| &key.name));
            maps.extend(from.config_map_key_ref.as_ref().map(|key| &key.name));
        }
        let (mut found_secrets, mut found_maps) = (Objects::new(), Objects::new());
        for name in secrets {
            found_secrets.insert(name.clone(), self.secret(name).await?);
        }
        for name in maps {
            found_maps.insert(name.clone(), self.config_map(name).await?);
        }
        Ok(Sources {
            secrets: found_secrets,
            config_maps: found_maps,
        })
    }

    pub(crate) async fn secret(&self, name: &str) -> Result<Option<Data>, String> {
        let secret: Option<Secret> = self.get(name).await?;
        Ok(secret.map(|secret| {
            let data = secret.data.unwrap_or_default();
            data.into_iter()
                .map(|(key, value)| (key, value.0))
                .collect()
        }))
    }

    pub(crate) async fn config_map(&self, name: &str) -> Result<Option<Data>, String> {
        let map: Option<ConfigMap> = self.get(name).await?;
        Ok(map.map(|map| {
            let texts = map.data.unwrap_or_default();
            let texts = texts
                .into_iter()
                .map(|(key, text)| (key, text.into_bytes()));
            let binary = map.binary_data.unwrap_or_default();
            let binary = binary.into_iter().map(|(key, value)| (key, value.0));
            texts.chain(binary).collect()
        }))
    }

    /// The uid of a claim.
    pub(crate) async fn claim(&self, name: &str) -> Result<Option<String>, String> {
        let claim: Option<PersistentVolumeClaim> = self.get(name).await?;
        Ok(claim.and_then(|claim| claim.metadata.uid))
    }

    async fn get<K>(&self, name: &str) -> Result<Option<K>, String>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &self.namespace);
        match tokio::time::timeout(TIMEOUT, api.get_opt(name)).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => Err(format!("cannot read {} {name:?}: {error}", K::kind(&()))),
            Err(_) => Err(format!(
                "cannot read {} {name:?}: no answer in time",
                K::kind(&())
            )),
        }
    }
}
