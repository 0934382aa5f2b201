//! The `Inspector` service: why a workspace is as it is, and what happens next.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::lookup::Lookup;
use crate::clock::Clock;
use crate::error::Error;
use crate::proto::served::inspector_server::Inspector;
use crate::proto::wsman::inspect::v1::{ExplainWorkspaceRequest, ExplainWorkspaceResponse};
use crate::tenure::Tenure;
use crate::workspaces::decide::Rules;
use crate::workspaces::{explanation, id};

/// Explains workspaces.
#[derive(Debug, Clone)]
pub struct Inspect {
    /// Finds workspaces.
    pub lookup: Lookup,
    /// What the configuration says about the lifecycle.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// Whether this replica leads.
    pub tenure: Tenure,
    /// What time it is.
    pub clock: Clock,
}

#[tonic::async_trait]
impl Inspector for Inspect {
    async fn explain_workspace(
        &self,
        request: Request<ExplainWorkspaceRequest>,
    ) -> Result<Response<ExplainWorkspaceResponse>, Status> {
        let ExplainWorkspaceRequest { id } = request.into_inner();
        self.lookup.check_listed()?;
        id::check(&id)?;
        let now = self.clock.now();
        let rules = self.rules.borrow().under(self.lookup.maintenance());
        let explained = self.lookup.hub().read_with_activity(|index, journal| {
            let tracked = index.by_id(&id)?;
            let entry = tracked.entry();
            let name = entry.pod.name.as_str();
            let decision = index.decide(name, journal, &rules, now).unwrap_or_default();
            let active = journal.last(&id, entry.facts.created);
            let warnings = index.warnings(&entry.pod);
            Some(explanation::explain(&entry, &decision, active, warnings))
        });
        let explained = explained.ok_or(Error::NotFound { id })?;
        Ok(Response::new(ExplainWorkspaceResponse {
            leader: self.tenure.holds(),
            ..explained
        }))
    }
}
