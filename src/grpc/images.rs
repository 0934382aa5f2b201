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
        let mut image = self.hub.read(|index| index.image_by_id(id).cloned());
        if image.is_none() {
            // Another replica may have made the pod a moment ago.
            let found = self.actor.find_pods(id, due).await;
            found.map_err(errors::status)?;
            image = self.hub.read(|index| index.image_by_id(id).cloned());
        }
        let image = image.ok_or(Error::NotFound { id: request.id });
        let spec = image
            .and_then(|image| image.spec())
            .map_err(errors::status)?;
        Ok(Response::new(GetImageSpecResponse { spec: Some(spec) }))
    }
}
