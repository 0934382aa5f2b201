//! Keeps the Services of a pod in line with its marks.

use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::{info, warn};

use super::call::{contested, is_owned};
use super::dependants::Creation;
use super::{Actor, Outcome, TRIES};
use crate::action::{Dependant, PodRef};
use crate::cluster::request::MERGE;
use crate::error::Error;
use crate::objects::Service;
use crate::workspaces::marks::annotation;
use crate::workspaces::names;
use crate::workspaces::services::{self, Served};

impl Actor {
    /// Brings the Services in line, and has the pod say why one is refused for good until none is.
    pub(super) async fn sync_services(
        &self,
        pod: &PodRef,
        headless: bool,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let mut said = None;
        let aligned = self.align(pod, headless, &mut said, deadline).await;
        let refusal = match &aligned {
            Ok(_) => None,
            Err(error) if error.is_passing() => return aligned,
            Err(error) => Some(services::refusal(error)),
        };
        if refusal != said {
            if let Some(why) = &refusal {
                warn!(pod = pod.name, why, "a Service was refused");
            }
            let mark = services::refused(refusal);
            self.mark(pod, &mark, deadline).await?;
        }
        aligned
    }

    /// Reads the Services before the pod, and writes only in the versions that were read: marks that change meanwhile
    /// change the Services first or after, so that the last word is theirs. `said` becomes what the pod says of a
    /// refusal.
    async fn align(
        &self,
        pod: &PodRef,
        headless: bool,
        said: &mut Option<String>,
        deadline: Instant,
    ) -> Result<Outcome, Error> {
        let prefix = self.hub.read(|index| {
            let entry = index.by_name(&pod.name);
            entry.map(|entry| entry.state.service_prefix.clone())
        });
        // Services without a pod go by themselves.
        let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) else {
            return Ok(Outcome::Done);
        };
        let names = [names::ide_service(&prefix), names::ports_service(&prefix)];
        'tries: for _ in 0..TRIES {
            let mut there = Vec::new();
            for name in &names {
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
            *said = meta
                .annotation(annotation::SERVICES_REFUSED)
                .map(str::to_owned);
            let mut wanted =
                services::of_pod(&self.namespace, &meta.labels, &meta.annotations, headless);
            for (name, there) in names.iter().zip(there) {
                let at = |service: &k8s_openapi::api::core::v1::Service| {
                    service.metadata.name.as_ref() == Some(name)
                };
                let wanted = wanted.iter().position(at).map(|at| wanted.remove(at));
                let ours = there.filter(|there| is_owned(&there.metadata, &pod.uid));
                let done = match (wanted, ours) {
                    (None, None) => true,
                    (Some(wanted), Some(ours)) if Served::by(&ours).is_as(&wanted) => true,
                    (Some(wanted), Some(ours)) if Served::by(&ours).must_be_made_anew(&wanted) => {
                        info!(pod = pod.name, service = name, "making the Service anew");
                        let service = Dependant::Service(Box::new(wanted));
                        self.unserve(&ours, deadline).await?
                            && self.try_create(pod, &service, deadline).await? == Creation::Created
                    }
                    (Some(wanted), Some(ours)) => {
                        info!(pod = pod.name, service = name, "changing the Service");
                        let ports = wanted.spec.and_then(|spec| spec.ports);
                        self.serve(&ours, json!(ports), deadline).await?
                    }
                    (Some(wanted), None) => {
                        info!(pod = pod.name, service = name, "creating the Service");
                        let service = Dependant::Service(Box::new(wanted));
                        self.try_create(pod, &service, deadline).await? == Creation::Created
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
