//! The `WorkspaceManager` service: parse, plan, act, reply. Each call fits on a screen and decides nothing itself.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};
use tonic::metadata::{Ascii, MetadataValue};
use tonic::{Request, Response, Status};
use tracing::{Instrument, info_span, warn};

use super::control::Turns;
use super::limits::Limits;
use super::start;
use super::subscribe::{self, Updates};
use super::{ended, errors, method};
use crate::action::Action;
use crate::clock::Clock;
use crate::cluster::act::Actor;
use crate::config::Settings;
use crate::error::Error;
use crate::hub::Hub;
use crate::proto::answers::{DescribeWorkspaceResponse, GetWorkspacesResponse};
use crate::proto::served::workspace_manager_server::WorkspaceManager;
use crate::proto::wsman::{
    BackupWorkspaceRequest, BackupWorkspaceResponse, ControlAdmissionRequest,
    ControlAdmissionResponse, ControlPortRequest, ControlPortResponse, DeleteVolumeSnapshotRequest,
    DeleteVolumeSnapshotResponse, DescribeClusterRequest, DescribeClusterResponse,
    DescribeWorkspaceRequest, GetWorkspacesRequest, MarkActiveRequest, MarkActiveResponse,
    SetTimeoutRequest, SetTimeoutResponse, StartWorkspaceRequest, StartWorkspaceResponse,
    StopWorkspaceRequest, StopWorkspaceResponse, SubscribeRequest, TakeSnapshotRequest,
    TakeSnapshotResponse, UpdateSshKeyRequest, UpdateSshKeyResponse,
};
use crate::tasks::Drain;
use crate::tenure::Tenure;
use crate::updates::SubscribeFrom;
use crate::workspaces::change::Change;
use crate::workspaces::decide::Rules;
use crate::workspaces::filter::Filter;
use crate::workspaces::maintenance::Switch;
use crate::workspaces::trace::Trace;
use crate::workspaces::{self, activity, classes, content, stop};

/// Default deadlines; a caller's own may be shorter or longer (reliability 4).
pub(super) const UNARY: Duration = Duration::from_secs(30);
const START: Duration = Duration::from_secs(60);
/// Metadata key of a start that is answered when the workspace runs.
const WAIT: &str = "wsman-wait";
/// How far one replica may be behind another before a stream that comes over begins anew.
const BEHIND: Duration = Duration::from_secs(1);
/// A mutation that runs into the deadline gets to say what it met.
const LAST_WORD: Duration = Duration::from_millis(20);

/// Everything a call needs.
#[derive(Debug, Clone)]
pub struct Workspaces {
    /// What is known.
    pub hub: Hub,
    /// What writes.
    pub actor: Actor,
    /// The configuration as it is now; a call takes it once.
    pub settings: watch::Receiver<Arc<Settings>>,
    /// What the ConfigMap says about maintenance.
    pub maintenance: watch::Receiver<Switch>,
    /// What time it is.
    pub clock: Clock,
    /// When to stop taking work.
    pub drain: Drain,
    /// How much may be asked.
    pub limits: watch::Receiver<Limits>,
    /// Whose turn it is to change a workspace.
    pub turns: Turns,
    /// What the configuration says about the lifecycle.
    pub rules: watch::Receiver<Arc<Rules>>,
    /// Whether this replica leads.
    pub tenure: Tenure,
}

#[tonic::async_trait]
impl WorkspaceManager for Workspaces {
    type SubscribeStream = Updates;

    async fn start_workspace(
        &self,
        request: Request<StartWorkspaceRequest>,
    ) -> Result<Response<StartWorkspaceResponse>, Status> {
        let wait = match request.metadata().get(WAIT) {
            None => false,
            Some(value) if value == "running" => true,
            Some(_) => return Err(errors::status(errors::metadata(WAIT, "\"running\""))),
        };
        let metadata = request.metadata();
        let trace = Trace::read(|name| metadata.get(name)?.to_str().ok());
        let (request, due) = self.admit(method::START_WORKSPACE, request, START).await?;
        self.await_listed(due).await?;
        self.refuse_in_maintenance()?;
        let id = request.id.clone();
        let asked = request.spec.as_ref().map(|spec| spec.class.clone());
        // Subscribed before the start, so that not even the first update can be missed.
        let subscribe = || {
            self.hub
                .updates()
                .subscribe(Filter::default(), SubscribeFrom::Now)
        };
        let updates = wait.then(subscribe);
        let this = self.clone();
        let span = info_span!("start", workspace = id);
        let started = self
            .mutate(
                "starting the workspace",
                due,
                async move { this.start(request, trace, due).await }.instrument(span),
            )
            .await?;
        if let Some(updates) = updates {
            let running = start::running(updates, &id);
            let doing = || Error::Deadline {
                doing: format!("waiting for workspace {id} to run"),
            };
            timeout_at(due, running)
                .await
                .map_err(|_| errors::status(doing()))?
                .map_err(errors::status)?;
        }
        let mut response = Response::new(started);
        if let Some(class) = self.class_of(&id, &asked.unwrap_or_default()) {
            response.metadata_mut().insert(classes::METADATA, class);
        }
        Ok(response)
    }

    async fn stop_workspace(
        &self,
        request: Request<StopWorkspaceRequest>,
    ) -> Result<Response<StopWorkspaceResponse>, Status> {
        let (request, due) = self.admit(method::STOP_WORKSPACE, request, UNARY).await?;
        let policy = stop::policy(&request).map_err(errors::status)?;
        let mark = stop::mark(policy);
        let span = info_span!(
            "stop",
            workspace = request.id,
            policy = policy.as_str_name()
        );
        let this = self.clone();
        let stopping = async move {
            this.stop(&request.id, &mark, due).await?;
            Ok(StopWorkspaceResponse {})
        };
        self.mutate(
            "asking the workspace to stop",
            due,
            stopping.instrument(span),
        )
        .await
        .map(Response::new)
    }

    async fn get_workspaces(
        &self,
        request: Request<GetWorkspacesRequest>,
    ) -> Result<Response<GetWorkspacesResponse>, Status> {
        let include_ended = ended::are_included(request.metadata()).map_err(errors::status)?;
        let (request, _) = self.admit(method::GET_WORKSPACES, request, UNARY).await?;
        let filter = Filter::parse(request.must_match).map_err(errors::status)?;
        self.listed()?;
        let status = match include_ended {
            true => self.list_with_ended(&filter),
            false => self
                .hub
                .read(|index| index.list(&filter).cloned().collect()),
        };
        Ok(Response::new(GetWorkspacesResponse { status }))
    }

    async fn describe_workspace(
        &self,
        request: Request<DescribeWorkspaceRequest>,
    ) -> Result<Response<DescribeWorkspaceResponse>, Status> {
        let include_ended = ended::are_included(request.metadata()).map_err(errors::status)?;
        let (request, _) = self
            .admit(method::DESCRIBE_WORKSPACE, request, UNARY)
            .await?;
        self.listed()?;
        let id = request.id;
        workspaces::id::check(&id).map_err(errors::status)?;
        let known = self.hub.read_with_activity(|index, journal| {
            let entry = index.by_id(&id)?;
            let last_activity = journal.last(&id, entry.facts.created);
            Some((entry.status.clone(), last_activity))
        });
        let known = known.or_else(|| {
            let end = self.end(&id).filter(|_| include_ended)?;
            Some((end.status, None))
        });
        let Some((status, last_activity)) = known else {
            return Err(errors::status(self.not_found(&id)));
        };
        Ok(Response::new(DescribeWorkspaceResponse {
            status: Some(status),
            last_activity: last_activity.map(activity::format).unwrap_or_default(),
        }))
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Updates>, Status> {
        self.open()?;
        let epoch = self.settings().manager.status_version_offset;
        let from = subscribe::start(request.metadata(), epoch).map_err(errors::status)?;
        let filter = Filter::parse(request.into_inner().must_match).map_err(errors::status)?;
        self.listed()?;
        if let SubscribeFrom::Resume(version) = from {
            // The other replica may have been a moment ahead; what it sent is sent here, too.
            let _ = timeout(BEHIND, self.hub.updates().reached(version)).await;
        }
        let subscription = self.hub.updates().subscribe(filter, from);
        let began = MetadataValue::from_static(subscribe::word(subscription.started_from()));
        let stream = subscribe::stream(subscription, epoch, self.drain.clone());
        let mut response = Response::new(stream);
        response.metadata_mut().insert(subscribe::BEGAN, began);
        Ok(response)
    }

    async fn mark_active(
        &self,
        request: Request<MarkActiveRequest>,
    ) -> Result<Response<MarkActiveResponse>, Status> {
        let (request, due) = self.admit(method::MARK_ACTIVE, request, UNARY).await?;
        self.listed()?;
        workspaces::id::check(&request.id).map_err(errors::status)?;
        let now = self.clock.now();
        let known = self.hub.read(|index| {
            index.by_id(&request.id).map(|entry| {
                (
                    entry.pod.clone(),
                    activity::mark(&entry.facts, &request, now),
                )
            })
        });
        let Some((pod, activity)) = known else {
            return Err(errors::status(self.not_found(&request.id)));
        };
        let activity::Activity { counts, mark } = activity;
        if counts {
            self.hub.mark_active(&request.id, now);
        }
        if let Some(mark) = mark {
            let actor = self.actor.clone();
            let action = Action::Mark(pod, mark);
            self.mutate("marking the workspace", due, async move {
                actor.act(&action, due).await.map(|_| ())
            })
            .await?;
        }
        Ok(Response::new(MarkActiveResponse {}))
    }

    async fn describe_cluster(
        &self,
        request: Request<DescribeClusterRequest>,
    ) -> Result<Response<DescribeClusterResponse>, Status> {
        self.admit(method::DESCRIBE_CLUSTER, request, UNARY).await?;
        let settings = self.settings();
        Ok(Response::new(classes::describe_classes(&settings.manager)))
    }

    async fn set_timeout(
        &self,
        request: Request<SetTimeoutRequest>,
    ) -> Result<Response<SetTimeoutResponse>, Status> {
        let (request, due) = self.admit(method::SET_TIMEOUT, request, UNARY).await?;
        let change = Change::timeout(request).map_err(errors::status)?;
        self.change("setting the timeout", change, due).await?;
        Ok(Response::new(SetTimeoutResponse {}))
    }

    async fn control_port(
        &self,
        request: Request<ControlPortRequest>,
    ) -> Result<Response<ControlPortResponse>, Status> {
        let (request, due) = self.admit(method::CONTROL_PORT, request, UNARY).await?;
        let change = Change::port(request).map_err(errors::status)?;
        self.change("changing the ports", change, due).await?;
        Ok(Response::new(ControlPortResponse {}))
    }

    async fn control_admission(
        &self,
        request: Request<ControlAdmissionRequest>,
    ) -> Result<Response<ControlAdmissionResponse>, Status> {
        let (request, due) = self
            .admit(method::CONTROL_ADMISSION, request, UNARY)
            .await?;
        let change = Change::admission(request).map_err(errors::status)?;
        self.change("changing the admission", change, due).await?;
        Ok(Response::new(ControlAdmissionResponse {}))
    }

    async fn update_ssh_key(
        &self,
        request: Request<UpdateSshKeyRequest>,
    ) -> Result<Response<UpdateSshKeyResponse>, Status> {
        let (request, due) = self.admit(method::UPDATE_SSH_KEY, request, UNARY).await?;
        let change = Change::ssh_keys(request).map_err(errors::status)?;
        self.change("changing the SSH keys", change, due).await?;
        Ok(Response::new(UpdateSshKeyResponse {}))
    }

    async fn take_snapshot(
        &self,
        request: Request<TakeSnapshotRequest>,
    ) -> Result<Response<TakeSnapshotResponse>, Status> {
        let (request, due) = self.admit(method::TAKE_SNAPSHOT, request, UNARY).await?;
        workspaces::id::check(&request.id).map_err(errors::status)?;
        self.refuse_in_maintenance()?;
        let entry = self.known(&request.id, due).await.map_err(errors::status)?;
        let url = content::snapshot(&entry.status).map_err(errors::status)?;
        Ok(Response::new(TakeSnapshotResponse { url }))
    }

    async fn backup_workspace(
        &self,
        request: Request<BackupWorkspaceRequest>,
    ) -> Result<Response<BackupWorkspaceResponse>, Status> {
        let (request, due) = self.admit(method::BACKUP_WORKSPACE, request, UNARY).await?;
        workspaces::id::check(&request.id).map_err(errors::status)?;
        let entry = self.known(&request.id, due).await.map_err(errors::status)?;
        let url = content::back_up(&entry.status).map_err(errors::status)?;
        Ok(Response::new(BackupWorkspaceResponse { url }))
    }

    async fn delete_volume_snapshot(
        &self,
        request: Request<DeleteVolumeSnapshotRequest>,
    ) -> Result<Response<DeleteVolumeSnapshotResponse>, Status> {
        let method = method::DELETE_VOLUME_SNAPSHOT;
        let (request, _) = self.admit(method, request, UNARY).await?;
        let was_deleted = content::delete_volume_snapshot(&request).map_err(errors::status)?;
        Ok(Response::new(DeleteVolumeSnapshotResponse { was_deleted }))
    }
}

impl Workspaces {
    /// Returns the class that a workspace got, for its caller; and logs that it is not the one that was asked for.
    fn class_of(&self, id: &str, asked: &str) -> Option<MetadataValue<Ascii>> {
        let status = self
            .hub
            .read(|index| index.by_id(id).map(|tracked| tracked.status.clone()))?;
        let class = status.read().spec?.class;
        if !asked.is_empty() && class != asked {
            warn!(
                workspace = id,
                asked, class, "unknown class, started with another"
            );
        }
        class.parse().ok()
    }

    /// Runs a mutation to its end even if the caller hangs up, and answers within the caller's deadline.
    pub(super) async fn mutate<T: Send + 'static>(
        &self,
        doing: &str,
        due: Instant,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Status> {
        self.open()?;
        let task = self.drain.mutations.spawn(work);
        match timeout_at(due + LAST_WORD, task).await {
            Err(_) => Err(errors::status(Error::Deadline {
                doing: doing.to_owned(),
            })),
            Ok(Err(panic)) => Err(errors::status(Error::Internal {
                why: format!("{doing}: {panic}"),
            })),
            Ok(Ok(outcome)) => outcome.map_err(errors::status),
        }
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// Refuses new work while the server drains.
    pub(super) fn open(&self) -> Result<(), Status> {
        if self.drain.refuse.is_cancelled() {
            let why = "this server is shutting down".to_owned();
            return Err(errors::status(Error::Unavailable {
                why,
                retry_after: None,
            }));
        }
        Ok(())
    }

    /// Refuses to answer from an index that never was complete: a partial list would end workspaces (spec 6.4).
    pub(super) fn listed(&self) -> Result<(), Status> {
        let switch = *self.maintenance.borrow();
        if switch != Switch::Unknown && self.hub.read(|index| index.is_listed()) {
            return Ok(());
        }
        let why = "the workspaces are not listed yet".to_owned();
        Err(errors::status(Error::Unavailable {
            why,
            retry_after: None,
        }))
    }
}
