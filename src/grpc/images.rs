//! The `SpecProvider` service: returns the image spec of a workspace to a registry facade.

use tonic::{Request, Response, Status};

use crate::cluster::act::Actor;
use crate::error::Error;
use crate::hub::Hub;
use crate::proto::registryfacade::{GetImageSpecRequest, GetImageSpecResponse};
use crate::proto::served::spec_provider_server::SpecProvider;
use crate::rpc::call;
use crate::workspaces::id;

#[derive(Debug, Clone)]
pub struct Images {
    /// The index and the updates.
    pub hub: Hub,
    /// Reads from the API server.
    pub actor: Actor,
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
            self.hub.read(|index| {
                let tracked = index.by_id(&id)?;
                Some((tracked.image.clone(), tracked.status.clone()))
            })
        };
        let mut found = known();
        if found.is_none() {
            // Another replica may have created the pod a moment ago.
            self.actor.find_pods(&id, deadline).await?;
            found = known();
        }
        let (image, status) = found.ok_or_else(|| Error::NotFound { id: id.clone() })?;
        let spec = image.spec(&status.read())?;
        Ok(Response::new(GetImageSpecResponse { spec: Some(spec) }))
    }
}
