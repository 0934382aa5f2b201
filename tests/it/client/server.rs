//! A scripted workspace manager on loopback that records its calls.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use futures::stream::{self, Stream, StreamExt};
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::transport::{Identity, ServerTlsConfig};
use tonic::{Request, Response, Status};
use wsman::proto::answers::{
    DescribeWorkspaceResponse, EncodedStatus, GetWorkspacesResponse, SubscribeResponse,
};
use wsman::proto::served::workspace_manager_server::{WorkspaceManager, WorkspaceManagerServer};
use wsman::proto::wsman::*;

/// How long a test waits for what must happen before it gives up.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// What the server knows and was asked.
#[derive(Default)]
pub(super) struct State {
    /// What it lists and describes.
    pub(super) workspaces: Vec<WorkspaceStatus>,
    /// What DescribeWorkspace answers beside the status.
    pub(super) last_activity: String,
    /// Sent to the streams while a list is being answered.
    pub(super) during_list: Vec<WorkspaceStatus>,
    /// What a start makes, under the id that was asked for.
    pub(super) start_as: Option<WorkspaceStatus>,
    /// The class that every workspace gets, as the metadata of the answer says.
    pub(super) class: Option<&'static str>,
    /// Calls that fail, by name.
    pub(super) errors: BTreeMap<&'static str, Status>,
    /// Calls that are never answered.
    pub(super) hanging: BTreeSet<&'static str>,
    /// Streams send no headers before their first message, as old servers do.
    pub(super) late_headers: bool,
    /// Every call: name, request, timeout header.
    pub(super) calls: Vec<(&'static str, Value, Option<String>)>,
    streams: Vec<mpsc::UnboundedSender<Result<SubscribeResponse, Status>>>,
}

type Shared = Arc<(Mutex<State>, Condvar)>;

/// The server; it ends when dropped.
pub(super) struct Server {
    /// Where it listens.
    pub(super) address: SocketAddr,
    shared: Shared,
    runtime: Option<Runtime>,
}

impl Server {
    /// Starts a server in plaintext.
    pub(super) fn start(workspaces: Vec<WorkspaceStatus>) -> Self {
        Self::start_with(workspaces, None)
    }

    /// Starts a server, with TLS if given an identity.
    pub(super) fn start_with(workspaces: Vec<WorkspaceStatus>, tls: Option<Identity>) -> Self {
        let shared = Shared::default();
        shared.0.lock().unwrap().workspaces = workspaces;
        let mut server = Self {
            address: ([127, 0, 0, 1], 0).into(),
            shared,
            runtime: None,
        };
        server.listen(tls);
        server
    }

    /// Kills the server with every connection, and starts it again on the same address.
    pub(super) fn restart(&mut self) {
        self.stop();
        self.listen(None);
    }

    /// Kills the server with every connection.
    pub(super) fn stop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(TIMEOUT);
        }
        self.state().streams.clear();
    }

    /// What it knows, to be looked at or changed.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.shared.0.lock().unwrap()
    }

    /// Changes a workspace and publishes it to every stream.
    pub(super) fn update(&self, status: WorkspaceStatus) {
        let mut state = self.state();
        state.put(status.clone());
        state.publish(status);
    }

    /// Changes a workspace without publishing it.
    pub(super) fn change(&self, status: WorkspaceStatus) {
        self.state().put(status);
    }

    /// Ends every stream.
    pub(super) fn cut(&self, error: Option<Status>) {
        for stream in self.state().streams.drain(..) {
            if let Some(error) = &error {
                let _ = stream.send(Err(error.clone()));
            }
        }
    }

    /// Waits until a call was made as many times.
    pub(super) fn wait_for(&self, call: &str, times: usize) {
        let state = self.state();
        let count = |state: &mut State| {
            state
                .calls
                .iter()
                .filter(|(name, ..)| *name == call)
                .count()
                < times
        };
        let (_state, waited) = self
            .shared
            .1
            .wait_timeout_while(state, TIMEOUT, count)
            .unwrap();
        assert!(!waited.timed_out(), "{call} was not called {times} times");
    }

    /// The names of the calls so far.
    pub(super) fn call_names(&self) -> Vec<&'static str> {
        self.state().calls.iter().map(|(name, ..)| *name).collect()
    }

    /// The requests of one call so far.
    pub(super) fn requests(&self, call: &str) -> Vec<Value> {
        self.state()
            .calls
            .iter()
            .filter(|(name, ..)| *name == call)
            .map(|(_, request, _)| request.clone())
            .collect()
    }

    fn listen(&mut self, tls: Option<Identity>) {
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        self.address = listener.local_addr().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let mut builder = tonic::transport::Server::builder();
        if let Some(identity) = tls {
            builder = builder
                .tls_config(ServerTlsConfig::new().identity(identity))
                .unwrap();
        }
        let router = builder.add_service(WorkspaceManagerServer::new(Service(self.shared.clone())));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            router
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        self.runtime = Some(runtime);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl State {
    fn put(&mut self, status: WorkspaceStatus) {
        self.workspaces.retain(|other| other.id != status.id);
        self.workspaces.push(status);
    }

    fn publish(&mut self, status: WorkspaceStatus) {
        let message = SubscribeResponse::new(Some(&EncodedStatus::new(status)), &BTreeMap::new());
        self.streams
            .retain(|stream| stream.send(Ok(message.clone())).is_ok());
    }
}

struct Service(Shared);

impl Service {
    /// Records the call and returns its response, unless the test rejects it or lets it hang.
    async fn answer<Q: Serialize, A>(
        &self,
        name: &'static str,
        request: Request<Q>,
        answer: impl FnOnce(&mut State, &Q) -> Result<A, Status>,
    ) -> Result<Response<A>, Status> {
        let timeout = request
            .metadata()
            .get("grpc-timeout")
            .map(|value| value.to_str().unwrap().to_owned());
        let request = request.into_inner();
        let (hangs, answer) = {
            let mut state = self.0.0.lock().unwrap();
            let result = match state.errors.get(name) {
                Some(error) => Err(error.clone()),
                None => answer(&mut state, &request),
            };
            state
                .calls
                .push((name, serde_json::to_value(&request).unwrap(), timeout));
            (state.hanging.contains(name), result)
        };
        self.0.1.notify_all();
        match hangs {
            true => futures::future::pending().await,
            false => answer.map(Response::new),
        }
    }
}

type Updates = Pin<Box<dyn Stream<Item = Result<SubscribeResponse, Status>> + Send>>;

#[tonic::async_trait]
impl WorkspaceManager for Service {
    type SubscribeStream = Updates;

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Updates>, Status> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let late_headers = self.0.0.lock().unwrap().late_headers;
        self.answer("Subscribe", request, |state, _| {
            state.streams.push(sender);
            Ok(())
        })
        .await?;
        let mut updates = UnboundedReceiverStream::new(receiver);
        if late_headers {
            let first = stream::iter(updates.next().await);
            return Ok(Response::new(first.chain(updates).boxed()));
        }
        Ok(Response::new(updates.boxed()))
    }

    async fn get_workspaces(
        &self,
        request: Request<GetWorkspacesRequest>,
    ) -> Result<Response<GetWorkspacesResponse>, Status> {
        self.answer("GetWorkspaces", request, |state, _| {
            for status in std::mem::take(&mut state.during_list) {
                state.publish(status);
            }
            Ok(GetWorkspacesResponse {
                status: state
                    .workspaces
                    .iter()
                    .cloned()
                    .map(EncodedStatus::new)
                    .collect(),
            })
        })
        .await
    }

    async fn start_workspace(
        &self,
        request: Request<StartWorkspaceRequest>,
    ) -> Result<Response<StartWorkspaceResponse>, Status> {
        let class = self.0.0.lock().unwrap().class;
        let answer = self
            .answer("StartWorkspace", request, |state, request| {
                if let Some(status) = state.start_as.clone() {
                    let status = WorkspaceStatus {
                        id: request.id.clone(),
                        ..status
                    };
                    state.put(status.clone());
                    state.publish(status);
                }
                let url = format!("https://{}.ws.example.com", request.service_prefix);
                Ok(StartWorkspaceResponse {
                    url,
                    owner_token: "s3cret".to_owned(),
                })
            })
            .await;
        answer.map(|mut answer| {
            let class = class.map(|class| class.parse().unwrap());
            if let Some(class) = class {
                answer.metadata_mut().insert("wsman-class", class);
            }
            answer
        })
    }

    async fn stop_workspace(
        &self,
        request: Request<StopWorkspaceRequest>,
    ) -> Result<Response<StopWorkspaceResponse>, Status> {
        self.answer("StopWorkspace", request, |_, _| {
            Ok(StopWorkspaceResponse {})
        })
        .await
    }

    async fn describe_workspace(
        &self,
        request: Request<DescribeWorkspaceRequest>,
    ) -> Result<Response<DescribeWorkspaceResponse>, Status> {
        self.answer("DescribeWorkspace", request, |state, request| {
            let status = state
                .workspaces
                .iter()
                .find(|status| status.id == request.id)
                .cloned();
            match status {
                None => Err(Status::not_found(format!(
                    "workspace {} does not exist",
                    request.id
                ))),
                status => Ok(DescribeWorkspaceResponse {
                    status: status.map(EncodedStatus::new),
                    last_activity: state.last_activity.clone(),
                }),
            }
        })
        .await
    }

    async fn backup_workspace(
        &self,
        request: Request<BackupWorkspaceRequest>,
    ) -> Result<Response<BackupWorkspaceResponse>, Status> {
        self.answer("BackupWorkspace", request, |_, _| {
            Err(Status::unimplemented("no content backend"))
        })
        .await
    }

    async fn mark_active(
        &self,
        request: Request<MarkActiveRequest>,
    ) -> Result<Response<MarkActiveResponse>, Status> {
        self.answer("MarkActive", request, |_, _| Ok(MarkActiveResponse {}))
            .await
    }

    async fn set_timeout(
        &self,
        request: Request<SetTimeoutRequest>,
    ) -> Result<Response<SetTimeoutResponse>, Status> {
        self.answer("SetTimeout", request, |_, _| Ok(SetTimeoutResponse {}))
            .await
    }

    async fn control_port(
        &self,
        request: Request<ControlPortRequest>,
    ) -> Result<Response<ControlPortResponse>, Status> {
        self.answer("ControlPort", request, |_, _| Ok(ControlPortResponse {}))
            .await
    }

    async fn take_snapshot(
        &self,
        request: Request<TakeSnapshotRequest>,
    ) -> Result<Response<TakeSnapshotResponse>, Status> {
        self.answer("TakeSnapshot", request, |_, _| {
            Ok(TakeSnapshotResponse {
                url: "snapshot@bucket".to_owned(),
            })
        })
        .await
    }

    async fn control_admission(
        &self,
        request: Request<ControlAdmissionRequest>,
    ) -> Result<Response<ControlAdmissionResponse>, Status> {
        self.answer("ControlAdmission", request, |_, _| {
            Ok(ControlAdmissionResponse {})
        })
        .await
    }

    async fn delete_volume_snapshot(
        &self,
        _: Request<DeleteVolumeSnapshotRequest>,
    ) -> Result<Response<DeleteVolumeSnapshotResponse>, Status> {
        Err(Status::unimplemented("not a call of the client"))
    }

    async fn update_ssh_key(
        &self,
        request: Request<UpdateSshKeyRequest>,
    ) -> Result<Response<UpdateSshKeyResponse>, Status> {
        self.answer("UpdateSSHKey", request, |_, _| Ok(UpdateSshKeyResponse {}))
            .await
    }

    async fn describe_cluster(
        &self,
        request: Request<DescribeClusterRequest>,
    ) -> Result<Response<DescribeClusterResponse>, Status> {
        let class = |id: &str, display_name: &str, credits_per_minute| WorkspaceClass {
            id: id.to_owned(),
            display_name: display_name.to_owned(),
            description: format!("{display_name} machines"),
            credits_per_minute,
        };
        self.answer("DescribeCluster", request, |_, _| {
            Ok(DescribeClusterResponse {
                workspace_classes: vec![
                    class("default", "Standard", 0.0),
                    class("large", "Large", 0.25),
                ],
                preferred_workspace_class: "default".to_owned(),
            })
        })
        .await
    }
}
