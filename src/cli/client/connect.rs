//! Turns an address into a connection, and every call into one with a deadline.
//!
//! The transport is hidden here: verbs call the methods of `Connection` and never see a channel.

use std::path::PathBuf;
use std::time::Duration;

use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code, Request, Response, Status, Streaming};

use super::transport::{self, Transport};
use crate::cli::alive;
use crate::cli::exit::Failure;
use crate::proto::wsman::inspect::v1::inspector_client::InspectorClient;
use crate::proto::wsman::inspect::v1::{ExplainWorkspaceRequest, ExplainWorkspaceResponse};
use crate::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use crate::proto::wsman::*;
use crate::workspaces::ending;

/// A list of thousands of workspaces is far beyond the default of 4 MiB.
pub(super) const LARGEST_ANSWER: usize = 256 << 20;
/// Servers of this protocol answer pings more frequent than this with a goodbye, so ours are rarer.
pub(super) const PING_INTERVAL: Duration = Duration::from_secs(30);
/// A server that takes no connection by then is not there.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// Where the server is, and how to be sure that it is the right one.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Target {
    /// Address: host:port or grpc://host:port (plaintext), grpcs://host:port (TLS, needs --ca); http://host:port/rpc or
    /// https://host:port/rpc for JSON over HTTP.
    #[arg(
        short = 'H',
        long,
        env = "WSMAN_HOST",
        default_value = "localhost:8080",
        global = true,
        help_heading = "Connection",
        value_name = "ADDR"
    )]
    pub(in crate::cli) host: String,

    /// PEM file with the certificates that may sign the server's.
    #[arg(long, global = true, help_heading = "Connection", value_name = "FILE")]
    pub(super) ca: Option<PathBuf>,

    /// PEM file with the client's certificate.
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        value_name = "FILE",
        requires = "key"
    )]
    pub(super) cert: Option<PathBuf>,

    /// PEM file with the key of the client's certificate.
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        value_name = "FILE",
        requires = "cert"
    )]
    pub(super) key: Option<PathBuf>,

    /// Name that the server's certificate must carry.
    #[arg(
        long,
        global = true,
        help_heading = "Connection",
        value_name = "NAME",
        default_value = "ws-manager"
    )]
    pub(super) server_name: String,

    /// How long one call may take, such as "30s" or "1m30s" [default: 30s, start: 60s].
    #[arg(long, global = true, help_heading = "Connection", value_name = "DURATION", value_parser = parse_duration)]
    pub(super) timeout: Option<Duration>,
}

/// A connection that is made at the first call and made again whenever it was lost.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Connection {
    client: WorkspaceManagerClient<Transport>,
    inspector: InspectorClient<Transport>,
    address: String,
    timeout: Option<Duration>,
    include_ended: bool,
}

/// What a server answered instead of a result, or its silence.
#[derive(Debug)]
pub(super) struct CallError {
    /// As received, or made here when nothing was.
    pub(super) status: Status,
    address: String,
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        Self::from_status(&error.status, &error.address)
    }
}

/// One method per call that has one answer: its deadline is the user's or, failing that, the default in seconds.
macro_rules! unary {
    ($client:ident: $($(#[$doc:meta])* $name:ident($request:ty) -> $response:ty, $seconds:literal;)*) => {
        impl Connection {
            $($(#[$doc])*
            pub(super) async fn $name(&self, request: $request) -> Result<$response, CallError> {
                let limit = self.timeout.unwrap_or(Duration::from_secs($seconds));
                let mut client = self.$client.clone();
                let mut request = Request::new(request);
                request.set_timeout(limit);
                if self.include_ended {
                    let yes = MetadataValue::from_static("true");
                    request.metadata_mut().insert(ending::METADATA, yes);
                }
                let what = || format!("waiting for {} to answer", self.address);
                let call = tokio::time::timeout(limit, client.$name(request));
                let answer = alive::during(what, call).await;
                self.answer(answer.unwrap_or_else(|_| Err(late(limit))), limit)
            })*
        }
    };
}

unary! {
    client:
    /// Lists workspaces.
    get_workspaces(GetWorkspacesRequest) -> GetWorkspacesResponse, 30;
    /// Stops a workspace.
    stop_workspace(StopWorkspaceRequest) -> StopWorkspaceResponse, 30;
    /// Describes a workspace.
    describe_workspace(DescribeWorkspaceRequest) -> DescribeWorkspaceResponse, 30;
    /// Backs up a workspace.
    backup_workspace(BackupWorkspaceRequest) -> BackupWorkspaceResponse, 30;
    /// Records activity.
    mark_active(MarkActiveRequest) -> MarkActiveResponse, 30;
    /// Changes a timeout.
    set_timeout(SetTimeoutRequest) -> SetTimeoutResponse, 30;
    /// Exposes or hides a port.
    control_port(ControlPortRequest) -> ControlPortResponse, 30;
    /// Takes a snapshot.
    take_snapshot(TakeSnapshotRequest) -> TakeSnapshotResponse, 30;
    /// Changes who may enter.
    control_admission(ControlAdmissionRequest) -> ControlAdmissionResponse, 30;
    /// Replaces SSH keys.
    update_ssh_key(UpdateSshKeyRequest) -> UpdateSshKeyResponse, 30;
    /// Describes what the cluster offers.
    describe_cluster(DescribeClusterRequest) -> DescribeClusterResponse, 30;
}

unary! {
    inspector:
    /// Explains a workspace.
    explain_workspace(ExplainWorkspaceRequest) -> ExplainWorkspaceResponse, 30;
}

impl Connection {
    /// Prepares a connection; nothing is sent yet.
    pub(in crate::cli) fn open(target: &Target) -> Result<Self, Failure> {
        let transport = transport::open(target)?;
        let client = WorkspaceManagerClient::new(transport.clone())
            .max_decoding_message_size(LARGEST_ANSWER);
        Ok(Self {
            client,
            inspector: InspectorClient::new(transport),
            address: target.host.clone(),
            timeout: target.timeout,
            include_ended: false,
        })
    }

    /// Returns the same connection whose calls may ask for workspaces that ended lately, too.
    pub(super) fn including_ended(&self, include_ended: bool) -> Self {
        Self {
            include_ended,
            ..self.clone()
        }
    }

    /// Returns what the calls are made with.
    pub(in crate::cli) fn client(&self) -> WorkspaceManagerClient<Transport> {
        self.client.clone()
    }

    /// The address of the server.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Starts a workspace; the metadata of the answer says which class it got.
    pub(super) async fn start_workspace(
        &self,
        request: StartWorkspaceRequest,
    ) -> Result<(StartWorkspaceResponse, MetadataMap), CallError> {
        let limit = self.timeout.unwrap_or(Duration::from_secs(60));
        let mut client = self.client.clone();
        let mut request = Request::new(request);
        request.set_timeout(limit);
        let what = || format!("waiting for {} to answer", self.address);
        let call = tokio::time::timeout(limit, client.start_workspace(request));
        let answer = alive::during(what, call).await;
        let mut metadata = MetadataMap::new();
        let answer = answer
            .unwrap_or_else(|_| Err(late(limit)))
            .inspect(|answer| {
                metadata.clone_from(answer.metadata());
            });
        Ok((self.answer(answer, limit)?, metadata))
    }

    /// Opens a stream of updates. It has no deadline.
    pub(super) async fn subscribe(
        &self,
        filter: Option<MetadataFilter>,
    ) -> Result<Streaming<SubscribeResponse>, CallError> {
        let request = SubscribeRequest { must_match: filter };
        let answer = self.client.clone().subscribe(request).await;
        answer
            .map(Response::into_inner)
            .map_err(|status| self.error(status))
    }

    /// Says that a call, or a stream, to this server ended with `status`.
    pub(super) fn error(&self, status: Status) -> CallError {
        CallError {
            status,
            address: self.address.clone(),
        }
    }

    /// The transport's own timer, which may be first, reports a late answer as CANCELLED.
    fn answer<T>(
        &self,
        answer: Result<Response<T>, Status>,
        limit: Duration,
    ) -> Result<T, CallError> {
        match answer {
            Ok(response) => Ok(response.into_inner()),
            Err(status)
                if status.code() == Code::Cancelled && status.message() == "Timeout expired" =>
            {
                Err(self.error(late(limit)))
            }
            Err(status) => Err(self.error(status)),
        }
    }
}

/// Reads a duration such as "30s" or "1h30m"; it must be longer than nothing.
pub(in crate::cli) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration: jiff::SignedDuration = text.parse().map_err(|error| format!("{error}"))?;
    match Duration::try_from(duration) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err("must be longer than zero".to_owned()),
    }
}

fn late(limit: Duration) -> Status {
    Status::deadline_exceeded(format!("no answer within {limit:?}"))
}
