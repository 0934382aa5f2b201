//! The `SpecProvider` service: returns the image spec of a workspace to a registry facade.

use tonic::{Request, Response, Status};

use super::lookup::{Lookup, missing};
use crate::proto::registryfacade::{GetImageSpecRequest, GetImageSpecResponse};
use crate::proto::served::spec_provider_server::SpecProvider;
use crate::rpc::call;
use crate::workspaces::id;

#[derive(Debug, Clone)]
pub struct Images {
    pub lookup: Lookup,
}

#[tonic::async_trait]
impl SpecProvider for Images {
    async fn get_image_spec(
        &self,
        request: Request<GetImageSpecRequest>,
    ) -> Result<Response<GetImageSpecResponse>, Status> {
        let (GetImageSpecRequest { id }, deadline) = call::take(request);
        id::check(&id)?;
        let found = self.lookup.look(&id, deadline, |group| {
            let image = group.newest().entry.image.clone();
            (image, group.status().clone())
        });
        let (image, status) = found.await?.ok_or_else(|| missing(id.clone()))?;
        let spec = image.spec(&status.read())?;
        Ok(Response::new(GetImageSpecResponse { spec: Some(spec) }))
    }
}
