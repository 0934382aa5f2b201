//! The `SpecProvider` service: tells a registry facade what the image of a workspace is made of (spec 1.7).

use tonic::{Request, Response, Status};

use super::workspaces::{UNARY, Workspaces};
use super::{errors, method};
use crate::error::Error;
use crate::proto::registryfacade::{GetImageSpecRequest, GetImageSpecResponse};
use crate::proto::served::spec_provider_server::SpecProvider;
use crate::workspaces::id;

#[tonic::async_trait]
impl SpecProvider for Workspaces {
    async fn get_image_spec(
        &self,
        request: Request<GetImageSpecRequest>,
    ) -> Result<Response<GetImageSpecResponse>, Status> {
        let (request, due) = self.admit(method::GET_IMAGE_SPEC, request, UNARY).await?;
        id::check(&request.id).map_err(errors::status)?;
        let id = request.id.as_str();
        let known = || {
            self.hub.read(|index| {
                let tracked = index.by_id(id)?;
                Some((tracked.image.clone(), tracked.status.clone()))
            })
        };
        let mut found = known();
        if found.is_none() {
            // Another replica may have made the pod a moment ago.
            let looked = self.actor.find_pods(id, due).await;
            looked.map_err(errors::status)?;
            found = known();
        }
        let found = found.ok_or_else(|| Error::NotFound { id: id.to_owned() });
        let spec = found
            .and_then(|(image, status)| image.spec(&status.read()))
            .map_err(errors::status)?;
        Ok(Response::new(GetImageSpecResponse { spec: Some(spec) }))
    }
}
