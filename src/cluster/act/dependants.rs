//! Writes to what a pod needs beside it: its Secret, its claim and its Services, all owned by it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use tokio::time::Instant;

use super::call::is_owned;
use super::{Actor, Outcome};
use crate::action::{Dependant, PodRef};
use crate::error::Error;
use crate::objects::Service;

/// How an attempt to create an object went.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Creation {
    /// It is there as it was meant.
    Created,
    /// The pod has one of that name already.
    Exists,
    /// The one of that name had no owner any more and was removed; try again.
    Cleared,
}

impl Actor {
    pub(super) async fn create_dependant(
        &self,
        owner: &PodRef,
        dependant: &Dependant,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        while let Creation::Cleared = self.try_create(owner, dependant, deadline).await? {}
        Ok(Outcome::Done)
    }

    /// Creates an object once.
    pub(super) async fn try_create(
        &self,
        owner: &PodRef,
        dependant: &Dependant,
        deadline: Instant,
    ) -> Result<Creation, Error> {
        let mut object = dependant.clone();
        let (plural, meta) = match &mut object {
            Dependant::Secret(secret) => ("secrets", &mut secret.metadata),
            Dependant::Pvc(claim) => ("persistentvolumeclaims", &mut claim.metadata),
            Dependant::Service(service) => ("services", &mut service.metadata),
        };
        meta.owner_references = Some(vec![OwnerReference {
            api_version: "v1".to_owned(),
            kind: "Pod".to_owned(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
            ..OwnerReference::default()
        }]);
        let name = meta.name.clone().unwrap_or_default();
        let path = self.path(plural, None);
        let doing = format!("creating {plural} for pod {}", owner.name);
        let call = self.call(&doing, deadline);
        let created = match &object {
            Dependant::Secret(secret) => call.create(&path, secret).await?,
            Dependant::Pvc(claim) => call.create(&path, claim).await?,
            Dependant::Service(service) => call.create(&path, service).await?,
        };
        if created.is_some() {
            return Ok(Creation::Created);
        }
        match self.is_owned(plural, &name, owner, deadline).await? {
            true => Ok(Creation::Exists),
            false => Ok(Creation::Cleared),
        }
    }

    /// Whether an object that is there belongs to `owner`. One of a pod that is gone is cleared away: the cluster's
    /// garbage collector takes its time, and names come from prefixes that are used again.
    async fn is_owned(
        &self,
        plural: &str,
        name: &str,
        owner: &PodRef,
        deadline: Instant,
    ) -> Result<bool, Error> {
        let path = self.path(plural, Some(name));
        let doing = format!("reading {plural} {name}");
        // Any kind will do: only the metadata is looked at.
        let found = self.call(&doing, deadline).find(&path).await?;
        let Some(Service { metadata: meta, .. }) = found else {
            return Ok(false);
        };
        if is_owned(&meta, &owner.uid) {
            return Ok(true);
        }
        let mut owners = meta.owner_references.iter();
        let other = owners.find(|known| known.kind == "Pod");
        let lives = match other {
            None => true,
            Some(other) => self
                .read_pod(&other.name, deadline)
                .await?
                .is_some_and(|pod| pod.metadata.uid == other.uid),
        };
        if lives {
            let whose = other.map_or("no pod", |other| other.name.as_str());
            let why = format!("{plural} {name} is there already and belongs to {whose}");
            return Err(Error::Precondition {
                state: "NAME_IN_USE",
                why,
            });
        }
        let doing = format!("deleting {plural} {name} of a pod that is gone");
        let call = self.call(&doing, deadline);
        call.delete(&path, &meta.uid, None, None).await?;
        Ok(false)
    }
}
