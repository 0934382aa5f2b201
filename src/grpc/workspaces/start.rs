//! How a start is carried out, and how a caller waits for it.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, warn};

use super::stop::{ATTEMPTS, keeps_changing};
use super::volumes;
use crate::action::{Action, Dependant, Mark, PodRef};
use crate::cluster::act::{Actor, Outcome};
use crate::config::Settings;
use crate::error::Error;
use crate::grpc::lookup::Lookup;
use crate::index::noun::Group;
use crate::index::{self, Index};
use crate::objects::Pod;
use crate::proto::wsman::{StartWorkspaceRequest, StartWorkspaceResponse};
use crate::rpc::methods::DEFAULT_DEADLINE;
use crate::updates::{Subscription, UpdateEvent};
use crate::workspaces::entry::Workspace;
use crate::workspaces::marks::annotation;
use crate::workspaces::plan::{self, Plan, Tokens};
use crate::workspaces::trace::Trace;
use crate::workspaces::update::StatusUpdate;
use crate::workspaces::{content, idempotency, marks, rejected, request, stop};

/// Most time that a start continues after its caller hangs up.
const MUTATION_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Clone)]
pub(super) struct Starts {
    pub(super) lookup: Lookup,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    /// Tracks the creation of Services, which no call waits for.
    pub(super) mutations: TaskTracker,
}

impl Starts {
    /// Creates the pod, then its dependants, or finds an earlier pod of the same request. The caller's deadline
    /// applies until the pod is there. Then the start is finished or rolled back, also if the caller hangs up. A
    /// task that a drain waits for creates the Services.
    pub(super) async fn start(
        &self,
        request: StartWorkspaceRequest,
        trace: Trace,
        deadline: Instant,
    ) -> Result<StartWorkspaceResponse, Error> {
        let settings = self.settings.borrow().clone();
        let manager = &settings.manager;
        let request = request::parse(request, manager)?;
        content::check(&request, manager)?;
        let mut plan = plan::plan(&request, manager, &tokens()?)?;
        plan.trace(&trace);
        let name = plan.pod.metadata.name.clone().unwrap_or_default();
        let other = self.lookup.hub().read(|index| {
            index
                .by_id(&plan.id)
                .is_some_and(|group| *group.name != *name)
        });
        if other {
            return Err(Error::Exists {
                noun: idempotency::NOUN,
                id: plan.id,
            });
        }
        if manager.services.exist() {
            self.check_prefix(request.prefix(), &name)?;
        }
        let known = self
            .lookup
            .hub()
            .read(|index| index.by_id(&plan.id).is_some());
        if let Some(source) = plan.volume.as_ref().filter(|_| !known) {
            volumes::prepare(&self.lookup, source, deadline).await?;
        }
        for _ in 0..ATTEMPTS {
            let create = Action::CreatePod(Box::new(plan.pod.clone()));
            let outcome = match self.lookup.actor().act(&create, deadline).await {
                // The pod that was in the way went meanwhile.
                Err(Error::Aborted { .. }) => continue,
                outcome => outcome?,
            };
            let (answer, pod, created) = match outcome {
                Outcome::Created(pod) => {
                    let url = plan.url.clone();
                    let owner_token = plan.owner_token.clone();
                    let fresh = StartWorkspaceResponse { url, owner_token };
                    (fresh, pod, true)
                }
                Outcome::Exists(pod) => {
                    let newest = self.newest(&plan, &pod, deadline).await?;
                    (idempotency::answer(&plan, &newest)?, pod, false)
                }
                other => {
                    let why = format!("creating a pod ended as {other:?}");
                    return Err(Error::Internal { why });
                }
            };
            let pod = index::reference(&pod);
            self.complete(&plan, pod, created, Instant::now() + MUTATION_TIMEOUT)
                .await?;
            return Ok(answer);
        }
        Err(keeps_changing(&plan.id))
    }

    /// Returns the newest pod of the workspace whose first pod is `first`.
    async fn newest(&self, plan: &Plan, first: &Pod, deadline: Instant) -> Result<Pod, Error> {
        let Some(mut next) = rejected::successor(&first.metadata).map(str::to_owned) else {
            return Ok(first.clone());
        };
        let newest = self.lookup.hub().read(|index| {
            let newest = index.by_pod(&first.metadata.name)?.newest();
            Some(newest.pod.name.clone())
        });
        if let Some(newest) = newest.filter(|newest| *newest != first.metadata.name) {
            next = newest;
        }
        match self.lookup.actor().read_pod(&next, deadline).await? {
            Some(pod) => Ok(pod),
            // It is about to be created.
            None if !rejected::is_handed_over(&first.metadata) => Ok(first.clone()),
            None => Err(idempotency::stopping(&plan.id)),
        }
    }

    /// Rejects a prefix that gives two workspaces Services of the same names. Two starts at the same time do not
    /// see each other here; then the API server rejects the Services of one.
    fn check_prefix(&self, prefix: &str, pod: &str) -> Result<(), Error> {
        self.lookup.hub().read(|index| match of_prefix(index, prefix, pod) {
            None => Ok(()),
            Some(other) => Err(Error::Precondition {
                state: "NAME_IN_USE",
                why: format!(
                    "service_prefix {prefix:?} is in use by workspace {}; choose another, or stop that one first",
                    other.status().id()
                ),
            }),
        })
    }

    /// Creates the dependants concurrently and waits for those that the pod needs. If the API server rejects one of
    /// these for good, a pod of this call is deleted. If the API server does not answer, the pod stays, and a retry
    /// or the lifecycle completes it.
    async fn complete(
        &self,
        plan: &Plan,
        pod: PodRef,
        created: bool,
        deadline: Instant,
    ) -> Result<(), Error> {
        let (services, needed): (Vec<_>, Vec<_>) = plan
            .dependants
            .iter()
            .map(|dependant| Action::CreateDependant(pod.clone(), dependant.clone()))
            .partition(|action| {
                matches!(action, Action::CreateDependant(_, Dependant::Service(_)))
            });
        let actor = self.lookup.actor();
        let serving = serve(actor.clone(), pod.clone(), services, deadline);
        let serving = self.mutations.spawn(serving.in_current_span());
        let creating = needed.iter().map(|action| actor.act(action, deadline));
        if let Err(error) = try_join_all(creating).await {
            if created && !error.is_passing() {
                serving.abort();
                let undo = [
                    Action::ForceDelete(pod.clone()),
                    Action::RemoveFinalizer(pod, marks::FINALIZER),
                ];
                for action in undo {
                    actor
                        .act(&action, Instant::now() + DEFAULT_DEADLINE)
                        .await?;
                }
            }
            return Err(error);
        }
        Ok(())
    }
}

/// Returns a workspace whose Services have the names that another of this prefix would give its own.
fn of_prefix<'a>(
    index: &'a Index<Workspace>,
    prefix: &str,
    other: &str,
) -> Option<&'a Group<Workspace>> {
    index.visible().find(|group| {
        let state = &group.newest().entry.state;
        state.ours && state.service_prefix.eq_ignore_ascii_case(prefix) && *group.name != *other
    })
}

/// Creates Services. If one is rejected for good, the workspace runs without it, and its status says why. The lifecycle
/// creates what is missing.
async fn serve(actor: Actor, pod: PodRef, services: Vec<Action>, deadline: Instant) {
    let creating = services.iter().map(|action| actor.act(action, deadline));
    let failed = join_all(creating).await;
    let failed = failed.into_iter().filter_map(Result::err);
    let (passing, refused): (Vec<_>, Vec<_>) = failed.partition(Error::is_passing);
    for error in passing {
        debug!(pod = pod.name, %error, "the lifecycle will make the Service");
    }
    let Some(error) = refused.first() else {
        return;
    };
    let why = error.refusal();
    warn!(pod = pod.name, why, "a Service was refused");
    let mark = Action::Mark(pod, Mark::put(annotation::SERVICES_REFUSED, Some(why)));
    if let Err(error) = actor.act(&mark, deadline).await {
        debug!(%error, "the lifecycle will mark the pod");
    }
}

/// Waits for RUNNING.
pub(super) async fn running(
    mut updates: Subscription<StatusUpdate>,
    id: &str,
) -> Result<(), Error> {
    loop {
        let Ok(batch) = updates.next().await else {
            return Err(Error::Unavailable {
                why: "lost track of the workspace".to_owned(),
                retry_after: None,
            });
        };
        let updates = batch.iter().filter_map(|event| match event {
            UpdateEvent::Status(update) => Some(update.status.read()),
            UpdateEvent::SnapshotComplete(_) => None,
        });
        for status in updates.filter(|status| status.id == id) {
            match stop::wait(&status) {
                stop::Wait::Running => return Ok(()),
                stop::Wait::Over(why) => {
                    return Err(Error::Precondition {
                        state: "NOT_RUNNING",
                        why,
                    });
                }
                stop::Wait::Goes => {}
            }
        }
    }
}

fn tokens() -> Result<Tokens, Error> {
    Ok(Tokens {
        cli_api: token()?,
        owner: token()?,
    })
}

/// Returns a random token.
///
/// # Errors
/// [`Error::Internal`] if the system has no randomness.
pub fn token() -> Result<String, Error> {
    loop {
        let mut random = [0; plan::TOKEN_BYTES];
        getrandom::fill(&mut random).map_err(|error| Error::Internal {
            why: format!("no randomness: {error}"),
        })?;
        if let Some(token) = plan::token(&random) {
            return Ok(token);
        }
    }
}
