//! Calls the ws-daemons of Gitpod's nodes: finds the one of a node, connects, and tries again what passes by itself
//! (docs/protocol.md#content-on-gitpod-nodes). Every call ends within its limit.

mod connect;
mod nodes;
mod retry;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::sleep;
use tonic::transport::Channel;
use tonic::{Code, Response, Status};
use tracing::debug;

use self::connect::Files;
use self::nodes::Nodes;
pub use self::retry::ATTEMPTS;
use crate::config;
use crate::objects::Pod;
use crate::proto::contentservice::GitStatus;
use crate::proto::wsdaemon::workspace_content_service_client::WorkspaceContentServiceClient;
use crate::proto::wsdaemon::{
    BackupWorkspaceRequest, DisposeWorkspaceRequest, InitWorkspaceRequest,
    IsWorkspaceExistsRequest, TakeSnapshotRequest, WaitForInitRequest,
};

/// Labels of the pods of ws-daemons.
pub const SELECTOR: &str = "app=gitpod,component=ws-daemon";
/// What of its limit a call keeps to answer that there is no daemon.
const MARGIN: Duration = Duration::from_secs(1);
/// Largest answer: a git status may name many files.
const LARGEST: usize = 16 << 20;

type Client = WorkspaceContentServiceClient<Channel>;

/// How long the client waits.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// For a ws-daemon that is ready on the node.
    pub locate: Duration,
    /// Between two attempts.
    pub pause: Duration,
    /// For the answer of a call that only looks.
    pub look: Duration,
}

impl Timing {
    /// As classic callers do.
    pub const CLASSIC: Self = Self {
        locate: Duration::from_secs(60),
        pause: Duration::from_secs(5),
        look: Duration::from_secs(20),
    };
}

/// The ws-daemon of a node.
#[derive(Debug, Clone)]
pub struct Target {
    pub node: String,
    pub daemon: config::Daemon,
    /// Limit of a call that does something.
    pub limit: Duration,
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The node has no ws-daemon that is ready.
    #[error("cannot connect to workspace daemon: {0}")]
    Absent(String),
    /// It cannot be reached, or the connection broke.
    #[error("cannot connect to workspace daemon: {0}")]
    Unreachable(String),
    /// It did not answer in time.
    #[error("context deadline exceeded: no answer of the workspace daemon within {0:?}")]
    Late(Duration),
    /// It answered with an error.
    #[error("{message}")]
    Refused { code: Code, message: String },
}

impl Failure {
    /// Whether the daemon may answer otherwise a moment later.
    fn is_unavailable(&self) -> bool {
        match self {
            Self::Absent(_) => false,
            Self::Unreachable(_) | Self::Late(_) => true,
            Self::Refused { code, .. } => *code == Code::Unavailable,
        }
    }

    /// Whether a disposal is tried again: giving up loses work.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Absent(_) | Self::Unreachable(_) | Self::Late(_) => true,
            Self::Refused { code, message } => {
                matches!(code, Code::Unavailable | Code::Cancelled)
                    || message.contains("context deadline exceeded")
            }
        }
    }

    /// Whether the daemon itself answers that it is not available.
    pub fn is_busy(&self) -> bool {
        self.is(Code::Unavailable)
    }

    fn is(&self, wanted: Code) -> bool {
        matches!(self, Self::Refused { code, .. } if *code == wanted)
    }
}

/// The ws-daemons, and a connection to each that was called.
#[derive(Debug, Clone)]
pub struct Daemons(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    timing: Timing,
    nodes: watch::Sender<Nodes>,
    pool: Mutex<HashMap<String, Connection>>,
}

/// A connection, and what it was opened with.
#[derive(Debug, Clone)]
struct Connection {
    address: String,
    port: u16,
    files: Option<Arc<Files>>,
    channel: Channel,
}

impl Daemons {
    /// Returns none: [`Self::apply`] and the others add them.
    pub fn new(timing: Timing) -> Self {
        Self(Arc::new(Shared {
            timing,
            nodes: watch::Sender::default(),
            pool: Mutex::default(),
        }))
    }

    // === The pods of the daemons ===

    /// Takes in the pod of a daemon.
    pub fn apply(&self, pod: &Pod) {
        self.change(|nodes| nodes.apply(pod));
    }

    /// Takes in that the pod of a daemon is gone.
    pub fn delete(&self, name: &str) {
        self.change(|nodes| nodes.delete(name));
    }

    /// Takes in that these are all pods of daemons.
    pub fn retain(&self, names: &HashSet<String>) {
        self.change(|nodes| nodes.retain(names));
    }

    /// A connection to an address that no daemon has any more is closed.
    fn change(&self, change: impl FnOnce(&mut Nodes)) {
        self.0.nodes.send_modify(change);
        let nodes = self.0.nodes.borrow();
        let mut pool = self.0.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.retain(|node, connection| nodes.has(node, &connection.address));
    }

    // === Calls ===

    /// Initialises the content of a workspace. That it is initialised already is a success.
    ///
    /// # Errors
    /// [`Failure`], after [`ATTEMPTS`] where it passes by itself.
    pub async fn fill(
        &self,
        target: &Target,
        request: &InitWorkspaceRequest,
    ) -> Result<(), Failure> {
        let once = || {
            let request = request.clone();
            let call = |mut client: Client| async move { client.init_workspace(request).await };
            self.call(target, target.limit, call).boxed()
        };
        match self.persistent(Failure::is_unavailable, once).await {
            Err(failure) if failure.is(Code::AlreadyExists) => Ok(()),
            filled => filled.map(drop),
        }
    }

    /// Waits until the content of a workspace is initialised; returns whether anybody does or did that.
    ///
    /// # Errors
    /// [`Failure`], after [`ATTEMPTS`] where it passes by itself.
    pub async fn is_filled(&self, target: &Target, id: &str) -> Result<bool, Failure> {
        let once = || self.wait(target, id).boxed();
        match self.persistent(Failure::is_unavailable, once).await {
            Err(failure) if failure.is(Code::NotFound) => Ok(false),
            waited => waited.map(|()| true),
        }
    }

    /// Returns whether there is content to dispose of, once it is complete.
    ///
    /// # Errors
    /// [`Failure`], after [`ATTEMPTS`] where it passes by itself.
    pub async fn find(&self, target: &Target, id: &str) -> Result<bool, Failure> {
        let once = || {
            let look = async move {
                if !self.exists(target, id).await? {
                    return Ok(false);
                }
                match self.wait(target, id).await {
                    Err(failure) if !failure.is(Code::NotFound) => Err(failure),
                    _ => Ok(true),
                }
            };
            look.boxed()
        };
        self.persistent(Failure::is_passing, once).await
    }

    /// Returns whether the daemon knows a workspace.
    ///
    /// # Errors
    /// [`Failure`], after [`ATTEMPTS`] where it passes by itself.
    pub async fn knows(&self, target: &Target, id: &str) -> Result<bool, Failure> {
        let once = || self.exists(target, id).boxed();
        self.persistent(Failure::is_unavailable, once).await
    }

    /// Takes the snapshot of a workspace, once; returns its URL.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn snapshot(
        &self,
        target: &Target,
        id: &str,
        return_immediately: bool,
    ) -> Result<String, Failure> {
        let request = TakeSnapshotRequest {
            id: id.to_owned(),
            return_immediately,
        };
        let call = |mut client: Client| async move { client.take_snapshot(request).await };
        Ok(self.call(target, target.limit, call).await?.url)
    }

    /// Takes the snapshot of a workspace that ends; returns its URL.
    ///
    /// # Errors
    /// [`Failure`], after [`ATTEMPTS`] where it passes by itself.
    pub async fn last_snapshot(&self, target: &Target, id: &str) -> Result<String, Failure> {
        let once = || self.snapshot(target, id, false).boxed();
        self.persistent(Failure::is_passing, once).await
    }

    /// Backs up a workspace, once; returns where.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn backup(&self, target: &Target, id: &str) -> Result<String, Failure> {
        let request = BackupWorkspaceRequest { id: id.to_owned() };
        let call = |mut client: Client| async move { client.backup_workspace(request).await };
        Ok(self.call(target, target.limit, call).await?.url)
    }

    /// Disposes of a workspace, once; returns the state of its working copy.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn dispose_once(
        &self,
        target: &Target,
        request: &DisposeWorkspaceRequest,
    ) -> Result<Option<GitStatus>, Failure> {
        let request = request.clone();
        let call = |mut client: Client| async move { client.dispose_workspace(request).await };
        match self.call(target, target.limit, call).await {
            // It was known before: an attempt whose answer was lost has disposed of it.
            Err(failure) if failure.is(Code::NotFound) => Ok(None),
            disposed => disposed.map(|answer| answer.git_status),
        }
    }

    /// Disposes of a workspace after an attempt that failed.
    ///
    /// # Errors
    /// [`Failure`], after the rest of [`ATTEMPTS`] where it passes by itself.
    pub async fn dispose_again(
        &self,
        target: &Target,
        request: &DisposeWorkspaceRequest,
    ) -> Result<Option<GitStatus>, Failure> {
        let pause = self.0.timing.pause;
        sleep(pause).await;
        let once = || self.dispose_once(target, request).boxed();
        retry::persistent(pause, ATTEMPTS - 1, Failure::is_passing, once).await
    }

    async fn exists(&self, target: &Target, id: &str) -> Result<bool, Failure> {
        let request = IsWorkspaceExistsRequest { id: id.to_owned() };
        let call = |mut client: Client| async move { client.is_workspace_exists(request).await };
        Ok(self.call(target, self.0.timing.look, call).await?.exists)
    }

    async fn wait(&self, target: &Target, id: &str) -> Result<(), Failure> {
        let request = WaitForInitRequest { id: id.to_owned() };
        let call = |mut client: Client| async move { client.wait_for_init(request).await };
        self.call(target, target.limit, call).await.map(drop)
    }

    async fn persistent<'a, T>(
        &self,
        passes: fn(&Failure) -> bool,
        call: impl Fn() -> BoxFuture<'a, Result<T, Failure>>,
    ) -> Result<T, Failure> {
        retry::persistent(self.0.timing.pause, ATTEMPTS, passes, call).await
    }

    /// Calls once, within the limit, as long as the daemon has its address.
    async fn call<T, F>(
        &self,
        target: &Target,
        limit: Duration,
        call: impl FnOnce(Client) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let connection = self.connect(target).await?;
        let client = WorkspaceContentServiceClient::new(connection.channel.clone())
            .max_decoding_message_size(LARGEST);
        let mut nodes = self.0.nodes.subscribe();
        let moved = nodes.wait_for(|nodes| !nodes.has(&target.node, &connection.address));
        let answer = tokio::select! {
            biased;
            answer = call(client) => answer,
            _ = moved => return Err(Failure::Unreachable("its pod is gone".to_owned())),
            () = sleep(limit) => return Err(Failure::Late(limit)),
        };
        let status = match answer {
            Ok(answer) => return Ok(answer.into_inner()),
            Err(status) => status,
        };
        // What the daemon itself answers has no cause on this side.
        if std::error::Error::source(&status).is_some() {
            self.close(&target.node, &connection);
            return Err(Failure::Unreachable(connect::root(&status)));
        }
        Err(Failure::Refused {
            code: status.code(),
            message: status.message().to_owned(),
        })
    }

    /// Returns the connection to the daemon of a node: the one that is open, unless address or certificates changed.
    async fn connect(&self, target: &Target) -> Result<Connection, Failure> {
        let address = self.locate(target).await?;
        let files = match &target.daemon.tls {
            None => None,
            Some(tls) => Some(Files::read(tls).await.map_err(Failure::Unreachable)?),
        };
        let port = target.daemon.port;
        let is_same = |open: &Connection| {
            open.address == address && open.port == port && open.files.as_deref() == files.as_ref()
        };
        let open = self.pooled(&target.node);
        if let Some(open) = open.filter(is_same) {
            return Ok(open);
        }
        debug!(
            node = target.node,
            address, port, "connecting to the ws-daemon"
        );
        let channel = connect::dial(&address, port, files.as_ref());
        let connection = Connection {
            channel: channel.await.map_err(Failure::Unreachable)?,
            address,
            port,
            files: files.map(Arc::new),
        };
        let mut pool = self.0.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.insert(target.node.clone(), connection.clone());
        Ok(connection)
    }

    /// Returns the address of the daemon of a node, once it is ready.
    async fn locate(&self, target: &Target) -> Result<String, Failure> {
        if target.node.is_empty() {
            let why = "workspace without a valid node name".to_owned();
            return Err(Failure::Absent(why));
        }
        let limit = self
            .0
            .timing
            .locate
            .min(target.limit.saturating_sub(MARGIN));
        let mut nodes = self.0.nodes.subscribe();
        tokio::select! {
            biased;
            found = nodes.wait_for(|nodes| nodes.ready(&target.node).is_some()) => {
                let found = found.ok();
                let address = found.as_ref().and_then(|nodes| nodes.ready(&target.node));
                address.map(str::to_owned).ok_or_else(|| Failure::Absent("shutting down".to_owned()))
            }
            () = sleep(limit) => {
                let why = "timed out attempting to connect to Gitpod ws-daemon";
                Err(Failure::Absent(format!("{why}: none is ready on node {}", target.node)))
            }
        }
    }

    fn pooled(&self, node: &str) -> Option<Connection> {
        let pool = self.0.pool.lock().unwrap_or_else(PoisonError::into_inner);
        pool.get(node).cloned()
    }

    /// A connection that broke is opened anew by the next call.
    fn close(&self, node: &str, broken: &Connection) {
        let mut pool = self.0.pool.lock().unwrap_or_else(PoisonError::into_inner);
        if pool
            .get(node)
            .is_some_and(|open| open.address == broken.address)
        {
            pool.remove(node);
        }
    }
}
