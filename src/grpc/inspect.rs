//! The `Inspector` service: why a workspace is as it is, and what happens next.

use tonic::{Request, Response, Status};

use super::workspaces::{UNARY, Workspaces};
use super::{errors, method};
use crate::error::Error;
use crate::proto::served::inspector_server::Inspector;
use crate::proto::wsman::inspect::v1::{ExplainWorkspaceRequest, ExplainWorkspaceResponse};
use crate::workspaces::{explanation, id};

#[tonic::async_trait]
impl Inspector for Workspaces {
    async fn explain_workspace(
        &self,
        request: Request<ExplainWorkspaceRequest>,
    ) -> Result<Response<ExplainWorkspaceResponse>, Status> {
        let (request, _) = self
            .admit(method::EXPLAIN_WORKSPACE, request, UNARY)
            .await?;
        self.listed()?;
        id::check(&request.id).map_err(errors::status)?;
        let now = self.clock.now();
        let rules = self.rules.borrow().under(*self.maintenance.borrow());
        let explained = self.hub.read_with_activity(|index, journal| {
            let tracked = index.by_id(&request.id)?;
            let entry = tracked.entry();
            let name = entry.pod.name.as_str();
            let decision = index.decide(name, journal, &rules, now).unwrap_or_default();
            let active = journal.last(&request.id, entry.facts.created);
            let warnings = index.warnings(&entry.pod);
            Some(explanation::explain(&entry, &decision, active, warnings))
        });
        let Some(explained) = explained else {
            return Err(errors::status(Error::NotFound { id: request.id }));
        };
        Ok(Response::new(ExplainWorkspaceResponse {
            leader: self.tenure.holds(),
            ..explained
        }))
    }
}
