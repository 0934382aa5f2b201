//! The `SpecProvider` service: returns the image spec of a workspace to a registry facade.

use tonic::{Request, Response, Status};

use super::lookup::Lookup;
use crate::error::Error;
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
        let known = || {
            self.lookup.hub().read(|index| {
                let group = index.by_id(&id)?;
                let entry = &group.newest().entry;
                Some((entry.image.clone(), group.status().clone()))
            })
        };
        let mut found = known();
        if found.is_none() {
            // Another replica may have created the pod a moment ago.
            self.lookup.find(&id, deadline).await?;
            found = known();
        }
        let (image, status) = found.ok_or_else(|| Error::NotFound { id: id.clone() })?;
        let spec = image.spec(&status.read())?;
        Ok(Response::new(GetImageSpecResponse { spec: Some(spec) }))
    }
}
