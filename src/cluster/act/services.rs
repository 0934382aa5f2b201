//! Keeps the Services of a pod in line with its marks.

use k8s_openapi::api::core::v1 as core;
use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

use super::call::{contested, is_owned};
use super::dependants::Creation;
use super::{Actor, Outcome, TRIES};
use crate::action::{Dependant, Mark, ServiceSync};
use crate::cluster::request::MERGE;
use crate::error::Error;
use crate::index::served::Served;
use crate::objects::Service;

impl Actor {
    /// Brings the Services in line, and has the pod say why one is refused for good until none is.
    pub(super) async fn sync_services(
        &self,
        sync: &ServiceSync,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let mut recorded = None;
        let synced = self.write_services(sync, &mut recorded, deadline).await;
        let refusal = match &synced {
            Ok(_) => None,
            Err(error) if error.is_passing() => return synced,
            Err(error) => Some(error.refusal()),
        };
        if refusal != recorded {
            if let Some(why) = &refusal {
                warn!(pod = sync.pod.name, why, "a Service was refused");
            }
            let mark = Mark::put(sync.refused, refusal);
            self.mark(&sync.pod, &mark, deadline).await?;
        }
        synced
    }

    /// Reads the Services before the pod, and writes only in the versions that were read: marks that change meanwhile
    /// change the Services first or after, so that the last word is theirs. `recorded` becomes what the pod says of a
    /// refusal.
    async fn write_services(
        &self,
        sync: &ServiceSync,
        recorded: &mut Option<String>,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let (pod, owner) = (&sync.pod, &sync.owner);
        'tries: for _ in 0..TRIES {
            let mut there = Vec::new();
            for name in &sync.names {
                there.push(self.read_service(name, deadline).await?);
            }
            let Some(marked) = self
                .read_pod(&pod.name, deadline)
                .await?
                .filter(|marked| marked.metadata.uid == pod.uid)
            else {
                return Ok(Outcome::Done);
            };
            let meta = &marked.metadata;
            *recorded = meta.annotation(sync.refused).map(str::to_owned);
            let mut wanted = sync.build(&self.namespace, meta);
            for (name, there) in sync.names.iter().zip(there) {
                let at = |service: &core::Service| service.metadata.name.as_ref() == Some(name);
                let wanted = wanted.iter().position(at).map(|at| wanted.remove(at));
                let ours = there.filter(|there| is_owned(&there.metadata, &owner.uid));
                let done = match (wanted, ours) {
                    (None, None) => true,
                    (Some(wanted), Some(ours)) if Served::by(&ours).is_as(&wanted) => true,
                    (Some(wanted), Some(ours)) if Served::by(&ours).must_be_made_anew(&wanted) => {
                        info!(pod = pod.name, service = name, "making the Service anew");
                        let service = Dependant::Service(Box::new(wanted));
                        self.unserve(&ours, deadline).await?
                            && self.try_create(owner, &service, deadline).await?
                                == Creation::Created
                    }
                    (Some(wanted), Some(ours)) => {
                        info!(pod = pod.name, service = name, "changing the Service");
                        let ports = wanted.spec.and_then(|spec| spec.ports);
                        self.serve(&ours, json!(ports), deadline).await?
                    }
                    (Some(wanted), None) => {
                        info!(pod = pod.name, service = name, "creating the Service");
                        let service = Dependant::Service(Box::new(wanted));
                        self.try_create(owner, &service, deadline).await? == Creation::Created
                    }
                    (None, Some(ours)) => {
                        info!(pod = pod.name, service = name, "deleting the Service");
                        self.unserve(&ours, deadline).await?
                    }
                };
                if !done {
                    continue 'tries;
                }
            }
            return Ok(Outcome::Done);
        }
        Err(contested("Services", &pod.name))
    }

    async fn read_service(&self, name: &str, deadline: Instant) -> Result<Option<Service>, Error> {
        let path = self.path("services", Some(name));
        let doing = format!("reading Service {name}");
        self.call(&doing, deadline).find(&path).await
    }

    /// Replaces the ports of a Service, and nothing else of it. Returns whether it still was as it was read.
    async fn serve(
        &self,
        service: &Service,
        ports: Value,
        deadline: Instant,
    ) -> Result<bool, Error> {
        let meta = &service.metadata;
        let patch = json!({
            "metadata": { "uid": meta.uid, "resourceVersion": meta.resource_version },
            "spec": { "ports": ports },
        });
        let path = self.path("services", Some(&meta.name));
        let doing = format!("changing Service {}", meta.name);
        let call = self.call(&doing, deadline);
        Ok(call.patch(&path, MERGE, &patch).await?.is_some())
    }

    /// Deletes a Service. Returns whether it still was as it was read.
    async fn unserve(&self, service: &Service, deadline: Instant) -> Result<bool, Error> {
        let meta = &service.metadata;
        let path = self.path("services", Some(&meta.name));
        let doing = format!("deleting Service {}", meta.name);
        let call = self.call(&doing, deadline);
        let version = Some(meta.resource_version.as_str());
        let answer = call.delete(&path, &meta.uid, version, None).await?;
        Ok(answer.is_some())
    }
}
