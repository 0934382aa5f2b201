//! How a start is carried out, and waited for.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, debug, warn};

use super::stop::{ATTEMPTS, keeps_changing};
use crate::action::{Action, Dependant, PodRef};
use crate::cluster::act::{Actor, Outcome};
use crate::config::Settings;
use crate::error::Error;
use crate::grpc::lookup::Lookup;
use crate::index;
use crate::objects::Pod;
use crate::proto::wsman::{StartWorkspaceRequest, StartWorkspaceResponse};
use crate::rpc::methods::UNARY;
use crate::updates::{Subscription, UpdateEvent};
use crate::workspaces::plan::{self, Plan, Tokens};
use crate::workspaces::trace::Trace;
use crate::workspaces::update::StatusUpdate;
use crate::workspaces::{content, idempotency, marks, recreate, request, services, stop};

/// A start goes on after its caller hung up, at most this long.
const MUTATION: Duration = Duration::from_secs(60);

/// Starts workspaces.
#[derive(Debug, Clone)]
pub(super) struct Starts {
    pub(super) lookup: Lookup,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    /// Where Services are made that nobody waits for.
    pub(super) mutations: TaskTracker,
}

impl Starts {
    /// Creates the pod, then what it needs; or finds that this was done before. Until the pod is there the caller's
    /// deadline counts; from then on the start is finished or taken back, whoever still waits. Services are made
    /// meanwhile, by a task that a drain waits for.
    pub(super) async fn start(
        &self,
        request: StartWorkspaceRequest,
        trace: Trace,
        deadline: Instant,
    ) -> Result<StartWorkspaceResponse, Error> {
        let settings = self.settings.borrow().clone();
        let manager = &settings.manager;
        let request = request::parse(request, manager)?;
        content::check(&request)?;
        let mut plan = plan::plan(&request, manager, &tokens()?)?;
        plan.trace(&trace);
        let name = plan.pod.metadata.name.clone().unwrap_or_default();
        let other = self.lookup.hub().read(|index| {
            index
                .by_id(&plan.id)
                .is_some_and(|entry| entry.pod.name != name)
        });
        if other {
            return Err(Error::Exists { id: plan.id });
        }
        if manager.services.exist() {
            self.check_prefix(request.prefix(), &name)?;
        }
        for _ in 0..ATTEMPTS {
            let outcome = match self.replaced(&plan, &name, deadline).await? {
                Some(pod) => Outcome::Exists(Box::new(pod)),
                None => {
                    let create = Action::CreatePod(Box::new(plan.pod.clone()));
                    match self.lookup.actor().act(&create, deadline).await {
                        // The pod that was in the way went meanwhile.
                        Err(Error::Aborted { .. }) => continue,
                        outcome => outcome?,
                    }
                }
            };
            let (answer, pod, created) = match outcome {
                Outcome::Created(pod) => {
                    let url = plan.url.clone();
                    let owner_token = plan.owner_token.clone();
                    let fresh = StartWorkspaceResponse { url, owner_token };
                    (fresh, pod, true)
                }
                // What belongs to it is being handed over.
                Outcome::Exists(pod) if recreate::is_under_way(&pod) => {
                    let answer = idempotency::answer(&plan, &pod);
                    if self
                        .lookup
                        .hub()
                        .read(|index| index.by_name(&name).is_some())
                    {
                        return answer;
                    }
                    let why = format!("pod {name} was made too late and is on its way out");
                    return Err(Error::Aborted { why });
                }
                Outcome::Exists(pod) => (idempotency::answer(&plan, &pod)?, pod, false),
                other => {
                    let why = format!("creating a pod ended as {other:?}");
                    return Err(Error::Internal { why });
                }
            };
            let pod = index::reference(&pod);
            self.complete(&plan, pod, created, Instant::now() + MUTATION)
                .await?;
            return Ok(answer);
        }
        Err(keeps_changing(&plan.id))
    }

    /// Returns the pod of a workspace whose pod is made again, as it is or as it was: at no moment may a start take its
    /// name.
    async fn replaced(
        &self,
        plan: &Plan,
        name: &str,
        deadline: Instant,
    ) -> Result<Option<Pod>, Error> {
        let (hub, actor) = (self.lookup.hub(), self.lookup.actor());
        if !hub.read(|index| index.is_made_again(name)) {
            return Ok(None);
        }
        if let Some(pod) = actor.read_pod(name, deadline).await? {
            return Ok(Some(pod));
        }
        actor.find_records(&plan.id, deadline).await?;
        match hub.read(|index| index.record(name).cloned()) {
            Some(record) if !record.ends.is_empty() => Err(idempotency::stopping(&plan.id)),
            record => Ok(record.map(|record| record.pod)),
        }
    }

    /// Refuses a prefix that would make two workspaces want Services of the same names. Where two starts run at the same
    /// time this sees neither; then the Services of one are refused.
    fn check_prefix(&self, prefix: &str, pod: &str) -> Result<(), Error> {
        self.lookup.hub().read(|index| match index.of_prefix(prefix, pod) {
            None => Ok(()),
            Some(other) => Err(Error::Precondition {
                state: "NAME_IN_USE",
                why: format!(
                    "service_prefix {prefix:?} is in use by workspace {}; choose another, or stop that one first",
                    other.status.id()
                ),
            }),
        })
    }

    /// Creates the dependants, all at once, and waits for those that the pod cannot run without. If one of these is
    /// refused for good, a pod of this call is taken back; if the API server only does not answer, the pod stays, and the
    /// same call or the lifecycle finishes it.
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
                    actor.act(&action, Instant::now() + UNARY).await?;
                }
            }
            return Err(error);
        }
        Ok(())
    }
}

/// Creates Services. One that is refused for good takes nothing back: the workspace runs without it, and says so. What is
/// missing the lifecycle makes.
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
    let why = services::refusal(error);
    warn!(pod = pod.name, why, "a Service was refused");
    let mark = Action::Mark(pod, services::refused(Some(why)));
    if let Err(error) = actor.act(&mark, deadline).await {
        debug!(%error, "the lifecycle will mark the pod");
    }
}

/// Waits until a workspace runs.
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
            match stop::verdict(&status) {
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

/// Returns a fresh token.
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
