//! The `Inspector` service: explains the state of a workspace and what happens next.

use std::sync::Arc;

use tokio::sync::watch;
use tonic::{Request, Response, Status};

use super::lookup::Lookup;
use crate::clock::Clock;
use crate::index::noun::Noun;
use crate::leadership::Leadership;
use crate::proto::served::inspector_server::Inspector;
use crate::proto::wsman::inspect::v1::{ExplainWorkspaceRequest, ExplainWorkspaceResponse};
use crate::workspaces::decide::{self, LifecyclePolicy};
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
        let policy = Arc::clone(&self.policy.borrow());
        let explained = self.lookup.hub().read_with_noun(|index, noun| {
            let group = index.by_id(&id)?;
            let decision = noun.decide(index, &group.key, &policy, now)?;
            let active = noun.activity(group);
            let content = decide::content_step(group, active, &policy, now);
            let warnings = index.warnings(&group.newest().pod);
            Some(explanation::explain(
                group, &decision, content, active, warnings,
            ))
        });
        let explained = explained.ok_or_else(|| self.lookup.not_found(&id))?;
        Ok(Response::new(ExplainWorkspaceResponse {
            leader: self.leadership.holds(),
            ..explained
        }))
    }
}
