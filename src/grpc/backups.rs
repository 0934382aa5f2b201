//! The `Backups` service: what was saved of workspaces.

use tonic::{Request, Response, Status};

use super::lookup::{Lookup, missing};
use crate::backups::Backups;
use crate::error::Error;
use crate::proto::served::backups_server;
use crate::proto::wsman::backups::v1::{ListBackupsRequest, ListBackupsResponse};
use crate::rpc::call;
use crate::workspaces::content::backups::{self, Asked, Whose};

/// Answers from the store.
#[derive(Debug, Clone)]
pub struct Saved {
    pub lookup: Lookup,
    pub backups: Backups,
}

#[tonic::async_trait]
impl backups_server::Backups for Saved {
    async fn list_backups(
        &self,
        request: Request<ListBackupsRequest>,
    ) -> Result<Response<ListBackupsResponse>, Status> {
        let (request, deadline) = call::take(request);
        let asked = backups::check(request)?;
        let whose = match asked.id.is_empty() {
            true => backups::of_owner(&asked),
            false => {
                self.lookup.await_listed(deadline).await?;
                self.workspace(&asked)?
            }
        };
        let page = self
            .backups
            .page(&whose, asked.after.as_ref(), asked.page, deadline);
        Ok(Response::new(page.await?))
    }
}

impl Saved {
    /// Finds a workspace that is there or ended recently.
    fn workspace(&self, asked: &Asked) -> Result<Whose, Error> {
        let id = &asked.id;
        let known = self.lookup.hub().read(|index| {
            let group = index.by_id(id)?;
            Some(group.status().clone())
        });
        let known = known.or_else(|| Some(self.lookup.end(id)?.update.status));
        // One of another owner is not there.
        known
            .and_then(|status| backups::of_workspace(asked, &status.read()))
            .ok_or_else(|| missing(id.clone()))
    }
}
