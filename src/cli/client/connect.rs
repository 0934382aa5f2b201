//! Turns an address into a connection, and gives every call a deadline.
//!
//! The transport is hidden here: verbs call the methods of `Connection` and never see a channel.

use std::time::Duration;

use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::codec::Codec;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status, Streaming};

use super::http::LARGEST_ANSWER;
use super::transport::{self, Target, Transport};
use crate::cli::alive;
use crate::cli::exit::Failure;
use crate::proto::call::Call;
use crate::proto::wire;
use crate::proto::wsman::sessions::v1::sessions_client::SessionsClient;
use crate::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use crate::proto::wsman::{MetadataFilter, SubscribeRequest, SubscribeResponse};
use crate::rpc::methods::{DEFAULT_DEADLINE, Methods};
use crate::workspaces::ending;

/// A connection that is made at the first call and made again whenever it was lost.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Connection {
    transport: Transport,
    methods: Methods,
    address: String,
    timeout: Option<Duration>,
    include_ended: bool,
}

/// The error of a call: of the server, or of the transport.
#[derive(Debug)]
pub(super) struct CallError {
    /// As received, or made here if nothing was received.
    pub(super) status: Status,
    address: String,
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::from_status(&error.status, &error.address)
    }
}

impl Connection {
    /// Prepares a connection; it connects at the first call.
    pub(in crate::cli) fn open(target: &Target) -> Result<Self, Failure> {
        Ok(Self {
            transport: transport::open(target)?,
            methods: Methods::load()?,
            address: target.host.clone(),
            timeout: target.timeout,
            include_ended: false,
        })
    }

    pub(super) fn methods(&self) -> &Methods {
        &self.methods
    }

    /// Returns the same connection, with calls that include workspaces that ended recently.
    pub(super) fn including_ended(&self, include_ended: bool) -> Self {
        Self {
            include_ended,
            ..self.clone()
        }
    }

    /// Returns the client for subscriptions.
    pub(in crate::cli) fn client(&self) -> WorkspaceManagerClient<Transport> {
        WorkspaceManagerClient::new(self.transport.clone())
            .max_decoding_message_size(LARGEST_ANSWER)
    }

    /// Returns the client for the streams of sessions.
    pub(super) fn sessions(&self) -> SessionsClient<Transport> {
        SessionsClient::new(self.transport.clone()).max_decoding_message_size(LARGEST_ANSWER)
    }

    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Makes a unary call.
    pub(super) async fn call<C: Call>(&self, request: C) -> Result<C::Answer, CallError> {
        let (answer, _) = self.call_with_metadata(request).await?;
        Ok(answer)
    }

    /// Makes a unary call, and also returns the metadata of its response.
    pub(super) async fn call_with_metadata<C: Call>(
        &self,
        request: C,
    ) -> Result<(C::Answer, MetadataMap), CallError> {
        let codec = wire::Codec::<C, C::Answer>::default();
        self.ask(C::METHOD, request, codec).await
    }

    /// Makes a unary call. Its deadline is the user's or the default of the method.
    pub(super) async fn ask<C>(
        &self,
        method: &str,
        request: C::Encode,
        codec: C,
    ) -> Result<(C::Decode, MetadataMap), CallError>
    where
        C: Codec,
        C::Encode: Send + Sync + 'static,
        C::Decode: Send + Sync + 'static,
    {
        let known = self.methods.by_path(method);
        let timeout = known.map_or(DEFAULT_DEADLINE, |method| method.default_deadline);
        let timeout = self.timeout.unwrap_or(timeout);
        let mut request = Request::new(request);
        request.set_timeout(timeout);
        if self.include_ended {
            let yes = MetadataValue::from_static("true");
            request.metadata_mut().insert(ending::METADATA, yes);
        }
        let what = || format!("waiting for {} to answer", self.address);
        let call = async {
            let mut grpc =
                Grpc::new(self.transport.clone()).max_decoding_message_size(LARGEST_ANSWER);
            let unready = |error| Status::unknown(format!("Service was not ready: {error}"));
            grpc.ready().await.map_err(unready)?;
            let unfit = |error| Status::internal(format!("{method}: {error}"));
            let path = PathAndQuery::try_from(method).map_err(unfit)?;
            grpc.unary(request, path, codec).await
        };
        match alive::during(what, tokio::time::timeout(timeout, call)).await {
            Ok(Ok(answer)) => {
                let (metadata, answer, _) = answer.into_parts();
                Ok((answer, metadata))
            }
            Ok(Err(status)) if !is_cut(&status) => Err(self.error(status)),
            _ => Err(self.error(late(timeout))),
        }
    }

    /// Opens a stream of updates. It has no deadline.
    pub(super) async fn subscribe(
        &self,
        filter: Option<MetadataFilter>,
    ) -> Result<Streaming<SubscribeResponse>, CallError> {
        let request = SubscribeRequest { must_match: filter };
        let answer = self.client().subscribe(request).await;
        answer
            .map(Response::into_inner)
            .map_err(|status| self.error(status))
    }

    /// Returns the error of a call or a stream of this server.
    pub(super) fn error(&self, status: Status) -> CallError {
        CallError {
            status,
            address: self.address.clone(),
        }
    }
}

/// Whether the transport's own timer fired first: it reports CANCELLED.
fn is_cut(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message() == "Timeout expired"
}

fn late(timeout: Duration) -> Status {
    Status::deadline_exceeded(format!("no answer within {timeout:?}"))
}
