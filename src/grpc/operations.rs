//! `google.longrunning.Operations` and the scheduling service that wsman replaces, over the calls of sessions.

use std::time::Duration;

use pbjson_types::Empty;
use tokio::time::{Instant, timeout_at};
use tonic::{Request, Response, Status};

use super::sessions::Sessions;
use crate::error::Error;
use crate::proto::google::longrunning::{
    CancelOperationRequest, DeleteOperationRequest, GetOperationRequest, ListOperationsRequest,
    ListOperationsResponse, Operation, WaitOperationRequest,
};
use crate::proto::grpc::testing::benchmarking::scheduling::v1::StartTestSessionRequest;
use crate::proto::served::sessions_server::Sessions as _;
use crate::proto::served::{operations_server, scheduling_service_server};
use crate::proto::wsman::sessions::v1::{
    GetSessionRequest, ListSessionsRequest, Session, StopSessionRequest,
};
use crate::random;
use crate::rpc::call;
use crate::sessions::operations;
use crate::updates::SubscribeFrom;

/// Time to answer with at the end of a wait.
const LAST_WORD: Duration = Duration::from_millis(100);

/// Serves sessions as operations.
#[derive(Debug, Clone)]
pub struct Operations {
    pub sessions: Sessions,
}

#[tonic::async_trait]
impl operations_server::Operations for Operations {
    async fn list_operations(
        &self,
        request: Request<ListOperationsRequest>,
    ) -> Result<Response<ListOperationsResponse>, Status> {
        let (wanted, request) = with(request, ListSessionsRequest::default());
        let sessions = self.sessions.list_sessions(request).await?.into_inner();
        let page = operations::page(&sessions.sessions, &wanted)?;
        Ok(Response::new(page))
    }

    async fn get_operation(
        &self,
        request: Request<GetOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let id = operations::id(&request.get_ref().name)?.to_owned();
        let (_, request) = with(request, GetSessionRequest { id });
        let session = self.sessions.get_session(request).await?.into_inner();
        answer(session.session)
    }

    async fn delete_operation(
        &self,
        _: Request<DeleteOperationRequest>,
    ) -> Result<Response<Empty>, Status> {
        let why = "a session that ended is deleted when its time to live is over".to_owned();
        Err(Error::Unimplemented { why }.into())
    }

    async fn cancel_operation(
        &self,
        request: Request<CancelOperationRequest>,
    ) -> Result<Response<Empty>, Status> {
        let stop = StopSessionRequest {
            id: operations::id(&request.get_ref().name)?.to_owned(),
            reason: "CancelOperation".to_owned(),
        };
        let (_, request) = with(request, stop);
        self.sessions.stop_session(request).await?;
        Ok(Response::new(Empty {}))
    }

    async fn wait_operation(
        &self,
        request: Request<WaitOperationRequest>,
    ) -> Result<Response<Operation>, Status> {
        let (request, deadline) = call::take(request);
        let id = operations::id(&request.name)?;
        let wait = request
            .timeout
            .map(|wait| Duration::try_from(wait).unwrap_or_default());
        let latest = deadline.checked_sub(LAST_WORD).unwrap_or(deadline);
        let asked = wait.and_then(|wait| Instant::now().checked_add(wait));
        let until = asked.map_or(latest, |asked| asked.min(latest));
        let ended = self.ended(id, deadline);
        let draining = self.sessions.calls.drain().refuse.cancelled();
        tokio::select! {
            ended = timeout_at(until, ended) => ended.unwrap_or(Ok(()))?,
            () = draining => self.sessions.calls.check_open()?,
        }
        answer(Some(self.sessions.known(id, deadline).await?))
    }
}

#[tonic::async_trait]
impl scheduling_service_server::SchedulingService for Operations {
    async fn start_test_session(
        &self,
        request: Request<StartTestSessionRequest>,
    ) -> Result<Response<Operation>, Status> {
        let start = operations::start(request.get_ref(), random::uuid()?)?;
        let (_, request) = with(request, start);
        let session = self.sessions.start_session(request).await?.into_inner();
        answer(session.session)
    }
}

impl Operations {
    /// Waits until a session has ended.
    async fn ended(&self, id: &str, deadline: Instant) -> Result<(), Error> {
        self.sessions.await_listed(deadline).await?;
        self.sessions.known(id, deadline).await?;
        let Some(filter) = self.sessions.filter_of(id) else {
            return Ok(());
        };
        let updates = self.sessions.hub.updates();
        let mut updates = updates.subscribe(filter, SubscribeFrom::Now);
        loop {
            let session = self.sessions.known(id, deadline).await?;
            if session.status.is_some_and(|status| status.done) {
                return Ok(());
            }
            if updates.next().await.is_err() {
                // What it missed is in the index.
                let all = self.sessions.hub.updates();
                let filter = self.sessions.filter_of(id).unwrap_or_default();
                updates = all.subscribe(filter, SubscribeFrom::Now);
            }
        }
    }
}

/// Returns the message of a request, and the same request with another message.
fn with<T, U>(request: Request<T>, message: U) -> (T, Request<U>) {
    let (metadata, extensions, original) = request.into_parts();
    (original, Request::from_parts(metadata, extensions, message))
}

fn answer(session: Option<Session>) -> Result<Response<Operation>, Status> {
    let session = session.unwrap_or_default();
    Ok(Response::new(operations::operation(&session)))
}
