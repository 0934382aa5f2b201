//! The `Inspector` service: explains the state of a workspace and what happens next.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::lookup::Lookup;
use crate::clock::Clock;
use crate::error::Error;
use crate::leadership::Leadership;
use crate::proto::served::inspector_server::Inspector;
use crate::proto::wsman::inspect::v1::{ExplainWorkspaceRequest, ExplainWorkspaceResponse};
use crate::workspaces::decide::LifecyclePolicy;
use crate::workspaces::{explanation, id};

#[derive(Debug, Clone)]
pub struct Inspect {
    pub lookup: Lookup,
    /// The configured lifecycle policy.
    pub policy: watch::Receiver<Arc<LifecyclePolicy>>,
    /// Whether this replica leads.
    pub leadership: Leadership,
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
        let policy = self.policy.borrow().under(self.lookup.maintenance());
        let explained = self
            .lookup
            .hub()
            .read_with_activity(|index, last_activity| {
                let tracked = index.by_id(&id)?;
                let entry = tracked.entry();
                let name = entry.pod.name.as_str();
                let decision = index
                    .decide(name, last_activity, &policy, now)
                    .unwrap_or_default();
                let active = last_activity.last(&id, entry.state.created);
                let warnings = index.warnings(&entry.pod);
                Some(explanation::explain(&entry, &decision, active, warnings))
            });
        let explained = explained.ok_or(Error::NotFound { id })?;
        Ok(Response::new(ExplainWorkspaceResponse {
            leader: self.leadership.holds(),
            ..explained
        }))
    }
}
