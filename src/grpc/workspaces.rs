//! The `WorkspaceManager` service: parse, plan, act, reply. A call decides nothing itself.

pub mod start;

mod change;
mod maintenance;
mod save;
mod stop;
mod volumes;

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};
use tracing::warn;

use crate::action::Action;
use crate::clock::Clock;
use crate::config::Settings;
use crate::error::{Error, FieldViolation};
use crate::index::noun::Noun;
use crate::proto::answers::{DescribeWorkspaceResponse, GetWorkspacesResponse, SubscribeResponse};
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
use crate::random;
use crate::rpc::call::{self, CallContext};
use crate::rpc::errors;
use crate::rpc::keyed_lock::KeyedLock;
use crate::spans;
use crate::updates::SubscribeFrom;
use crate::workspaces::change::Change;
use crate::workspaces::content::Save;
use crate::workspaces::content::volume;
use crate::workspaces::entry::Workspace;
use crate::workspaces::filter::Filter;
use crate::workspaces::trace::Trace;
use crate::workspaces::{self, activity, classes, ending};
use crate::wsdaemon::Daemons;
use change::Changes;
use maintenance::Maintenance;
use save::Savers;
use start::Starts;

use super::lookup::Lookup;
use super::subscribe::{self, Stream};

/// Metadata key of a start that waits for RUNNING.
const WAIT: &str = "wsman-wait";

#[derive(Debug, Clone)]
pub struct Workspaces {
    calls: CallContext,
    lookup: Lookup,
    /// The current configuration. A call reads it once.
    settings: watch::Receiver<Arc<Settings>>,
    clock: Clock,
    maintenance: Maintenance,
    starts: Starts,
    changes: Changes,
    savers: Savers,
}

#[tonic::async_trait]
impl WorkspaceManager for Workspaces {
    type SubscribeStream = Stream<SubscribeResponse>;

    async fn start_workspace(
        &self,
        request: Request<StartWorkspaceRequest>,
    ) -> Result<Response<StartWorkspaceResponse>, Status> {
        let wait = match request.metadata().get(WAIT) {
            None => false,
            Some(value) if value == "running" => true,
            Some(_) => return Err(errors::metadata(WAIT, "\"running\"").into()),
        };
        let metadata = request.metadata();
        let trace = Trace::read(|name| metadata.get(name)?.to_str().ok());
        let (request, deadline) = call::take(request);
        self.lookup.await_listed(deadline).await?;
        self.maintenance.check()?;
        let id = request.id.clone();
        let asked = request.spec.as_ref().map(|spec| spec.class.clone());
        // Subscribes before the start, so that it misses no update.
        let subscribe = || {
            let updates = self.lookup.hub().updates();
            updates.subscribe(Filter::default(), SubscribeFrom::Now)
        };
        let updates = wait.then(subscribe);
        let starts = self.starts.clone();
        let span = spans::call("StartWorkspace", Workspace::KIND, &id);
        let starting = async move { starts.start(request, trace, deadline).await };
        let started = self
            .calls
            .mutate("starting the workspace", deadline, span, starting)
            .await?;
        if let Some(updates) = updates {
            let running = start::running(updates, &id);
            let late = |_| Error::Deadline {
                doing: format!("waiting for workspace {id} to run"),
            };
            timeout_at(deadline, running).await.map_err(late)??;
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
        let (request, deadline) = call::take(request);
        let policy = workspaces::stop::policy(&request)?;
        let mark = workspaces::stop::mark(policy);
        let span = spans::call("StopWorkspace", Workspace::KIND, &request.id);
        let lookup = self.lookup.clone();
        let stopping = async move { stop::stop(&lookup, &request.id, &mark, deadline).await };
        self.calls
            .mutate("asking the workspace to stop", deadline, span, stopping)
            .await?;
        Ok(Response::new(StopWorkspaceResponse {}))
    }

    async fn get_workspaces(
        &self,
        request: Request<GetWorkspacesRequest>,
    ) -> Result<Response<GetWorkspacesResponse>, Status> {
        let with_ended = include_ended(request.metadata())?;
        let request = request.into_inner();
        let filter = Filter::parse(request.must_match)?;
        self.lookup.check_listed()?;
        let status = match with_ended {
            true => self.lookup.list_with_ended(&filter),
            false => self.lookup.list(&filter),
        };
        Ok(Response::new(GetWorkspacesResponse { status }))
    }

    async fn describe_workspace(
        &self,
        request: Request<DescribeWorkspaceRequest>,
    ) -> Result<Response<DescribeWorkspaceResponse>, Status> {
        let with_ended = include_ended(request.metadata())?;
        let request = request.into_inner();
        self.lookup.check_listed()?;
        let id = request.id;
        workspaces::id::check(&id)?;
        let known = self.lookup.hub().read_with_noun(|index, noun| {
            let group = index.by_id(&id)?;
            Some((group.status().clone(), noun.activity(group)))
        });
        let known = known.or_else(|| {
            let end = self.lookup.end(&id).filter(|_| with_ended)?;
            Some((end.update.status, None))
        });
        let Some((status, last_activity)) = known else {
            return Err(self.lookup.not_found(&id).into());
        };
        Ok(Response::new(DescribeWorkspaceResponse {
            status: Some(status),
            last_activity: last_activity.map(activity::format).unwrap_or_default(),
        }))
    }

    async fn subscribe(
        &self,
        request: Request<SubscribeRequest>,
    ) -> Result<Response<Stream<SubscribeResponse>>, Status> {
        self.calls.check_open()?;
        let epoch = self.settings.borrow().manager.status_version_offset;
        let from = subscribe::start(request.metadata(), epoch)?;
        let filter = Filter::parse(request.into_inner().must_match)?;
        self.lookup.check_listed()?;
        let updates = self.lookup.hub().updates();
        let drain = self.calls.drain().clone();
        Ok(subscribe::open(updates, filter, from, epoch, drain).await)
    }

    async fn mark_active(
        &self,
        request: Request<MarkActiveRequest>,
    ) -> Result<Response<MarkActiveResponse>, Status> {
        let (request, deadline) = call::take(request);
        self.lookup.check_listed()?;
        workspaces::id::check(&request.id)?;
        let now = self.clock.now();
        let known = self.lookup.hub().read(|index| {
            index.by_id(&request.id).map(|group| {
                let newest = group.newest();
                let state = &newest.entry.state;
                (newest.pod.clone(), activity::mark(state, &request, now))
            })
        });
        let Some((pod, activity)) = known else {
            return Err(self.lookup.not_found(&request.id).into());
        };
        let activity::Activity { counts, mark } = activity;
        if counts {
            let hub = self.lookup.hub();
            hub.change_noun(|index, noun| activity::records::see(index, noun, &request.id, now));
        }
        if let Some(mark) = mark {
            let actor = self.lookup.actor().clone();
            let action = Action::Mark(pod, mark);
            let marking = async move { actor.act(&action, deadline).await.map(|_| ()) };
            self.calls
                .mutate(
                    "marking the workspace",
                    deadline,
                    spans::call("MarkActive", Workspace::KIND, &request.id),
                    marking,
                )
                .await?;
        }
        Ok(Response::new(MarkActiveResponse {}))
    }

    async fn describe_cluster(
        &self,
        _: Request<DescribeClusterRequest>,
    ) -> Result<Response<DescribeClusterResponse>, Status> {
        let settings = self.settings.borrow().clone();
        Ok(Response::new(classes::describe_classes(&settings.manager)))
    }

    async fn set_timeout(
        &self,
        request: Request<SetTimeoutRequest>,
    ) -> Result<Response<SetTimeoutResponse>, Status> {
        let (request, deadline) = call::take(request);
        let change = Change::timeout(request)?;
        self.change("setting the timeout", change, deadline).await?;
        Ok(Response::new(SetTimeoutResponse {}))
    }

    async fn control_port(
        &self,
        request: Request<ControlPortRequest>,
    ) -> Result<Response<ControlPortResponse>, Status> {
        let (request, deadline) = call::take(request);
        let change = Change::port(request)?;
        self.change("changing the ports", change, deadline).await?;
        Ok(Response::new(ControlPortResponse {}))
    }

    async fn control_admission(
        &self,
        request: Request<ControlAdmissionRequest>,
    ) -> Result<Response<ControlAdmissionResponse>, Status> {
        let (request, deadline) = call::take(request);
        let change = Change::admission(request)?;
        self.change("changing the admission", change, deadline)
            .await?;
        Ok(Response::new(ControlAdmissionResponse {}))
    }

    async fn update_ssh_key(
        &self,
        request: Request<UpdateSshKeyRequest>,
    ) -> Result<Response<UpdateSshKeyResponse>, Status> {
        let (request, deadline) = call::take(request);
        let change = Change::ssh_keys(request)?;
        self.change("changing the SSH keys", change, deadline)
            .await?;
        Ok(Response::new(UpdateSshKeyResponse {}))
    }

    async fn take_snapshot(
        &self,
        request: Request<TakeSnapshotRequest>,
    ) -> Result<Response<TakeSnapshotResponse>, Status> {
        let (request, deadline) = call::take(request);
        workspaces::id::check(&request.id)?;
        self.maintenance.check()?;
        let save = Save::Snapshot {
            return_immediately: request.return_immediately,
        };
        let url = self.save(&request.id, save, deadline);
        Ok(Response::new(TakeSnapshotResponse { url: url.await? }))
    }

    async fn backup_workspace(
        &self,
        request: Request<BackupWorkspaceRequest>,
    ) -> Result<Response<BackupWorkspaceResponse>, Status> {
        let (request, deadline) = call::take(request);
        workspaces::id::check(&request.id)?;
        let url = self.save(&request.id, Save::Backup, deadline);
        Ok(Response::new(BackupWorkspaceResponse { url: url.await? }))
    }

    async fn delete_volume_snapshot(
        &self,
        request: Request<DeleteVolumeSnapshotRequest>,
    ) -> Result<Response<DeleteVolumeSnapshotResponse>, Status> {
        let (request, deadline) = call::take(request);
        volume::check_deletion(&request)?;
        let (lookup, settings) = (self.lookup.clone(), self.settings.borrow().clone());
        let span = spans::call("DeleteVolumeSnapshot", "snapshot", &request.id);
        let deleting =
            async move { volumes::delete(&lookup, &settings.manager, &request, deadline).await };
        let deleted = self
            .calls
            .mutate("deleting the volume snapshot", deadline, span, deleting)
            .await?;
        let was_deleted = deleted.was_deleted;
        let mut response = Response::new(DeleteVolumeSnapshotResponse { was_deleted });
        if let Some(kept) = deleted.kept_by.and_then(|names| names.parse().ok()) {
            response.metadata_mut().insert(volumes::KEPT_BY, kept);
        }
        Ok(response)
    }
}

impl Workspaces {
    /// Serves the workspaces that `lookup` finds.
    pub fn new(
        calls: CallContext,
        lookup: Lookup,
        settings: watch::Receiver<Arc<Settings>>,
        clock: Clock,
        daemons: Daemons,
    ) -> Self {
        Self {
            savers: Savers {
                lookup: lookup.clone(),
                settings: settings.clone(),
                daemons,
                clock: clock.clone(),
            },
            maintenance: Maintenance {
                settings: settings.clone(),
                lookup: lookup.clone(),
                clock: clock.clone(),
            },
            starts: Starts {
                lookup: lookup.clone(),
                settings: settings.clone(),
                mutations: calls.mutations().clone(),
            },
            changes: Changes {
                lookup: lookup.clone(),
                settings: settings.clone(),
                clock: clock.clone(),
                locks: KeyedLock::default(),
            },
            calls,
            lookup,
            settings,
            clock,
        }
    }

    /// Makes a change, also after its caller hangs up.
    async fn change(
        &self,
        doing: &'static str,
        change: Change,
        deadline: Instant,
    ) -> Result<(), Error> {
        let changes = self.changes.clone();
        let span = spans::call(change.method(), Workspace::KIND, &change.id);
        let changing = async move { changes.carry_out(doing, &change, deadline).await };
        self.calls.mutate(doing, deadline, span, changing).await
    }

    /// Saves the content of a workspace, also after its caller hangs up.
    async fn save(&self, id: &str, save: Save, deadline: Instant) -> Result<String, Error> {
        let (doing, method) = match save {
            Save::Snapshot { .. } => ("taking the snapshot", "TakeSnapshot"),
            Save::Backup => ("backing up the workspace", "BackupWorkspace"),
        };
        let span = spans::call(method, Workspace::KIND, id);
        let savers = self.savers.clone();
        let (ask, id) = (random::uuid()?, id.to_owned());
        let saving = async move { savers.save(&id, save, ask, deadline).await };
        self.calls.mutate(doing, deadline, span, saving).await
    }

    /// Returns the class that a workspace got. Logs if it is not the class in the request.
    fn class_of(&self, id: &str, asked: &str) -> Option<MetadataValue<Ascii>> {
        let status = self
            .lookup
            .hub()
            .read(|index| index.by_id(id).map(|group| group.status().clone()))?;
        let class = status.read().spec?.class;
        if !asked.is_empty() && class != asked {
            warn!(
                group = id,
                asked, class, "unknown class, started with another"
            );
        }
        class.parse().ok()
    }
}

/// Whether a call includes workspaces that ended.
fn include_ended(metadata: &MetadataMap) -> Result<bool, Error> {
    match metadata.get(ending::METADATA).map(|value| value.as_bytes()) {
        None | Some(b"false") => Ok(false),
        Some(b"true") => Ok(true),
        Some(_) => {
            let why = "must be true or false";
            let field = ending::METADATA;
            Err(Error::Invalid {
                message: format!("invalid request: {field}: {why}"),
                violations: vec![FieldViolation::new(field, why)],
            })
        }
    }
}
