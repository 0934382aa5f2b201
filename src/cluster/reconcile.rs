//! Drives the lifecycle: for every group that changed, or whose time has come, decides and acts.
//!
//! One action sequence per group at a time; different groups in parallel. A failed action is decided on again after a
//! growing pause, on the state as it is then. All this only on the replica that holds the Lease.

mod steps;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{Instrument, debug, info, warn};

pub use self::steps::{NoSteps, Steps};

use self::steps::Running;
use super::act::Actor;
use crate::action::Action;
use crate::clock::Clock;
use crate::decision::Decision;
use crate::error::Error;
use crate::hub::Hub;
use crate::index::noun::{About, Noun};
use crate::leadership::Leadership;
use crate::retry::Backoff;
use crate::spans;

/// Bound on the actions of one decision.
const LIMIT: Duration = Duration::from_secs(30);
/// Decisions that are carried out at once; their writes wait for those of starts.
const PARALLEL: usize = 64;
/// First and longest pause after a failure.
const BACKOFF: Backoff = Backoff::millis(200, 30_000);

/// Decides and acts while the Lease is held, until it is cut. Every time it begins it has a complete view, `prepare` is
/// done, and it looks at every group once.
///
/// # Errors
/// If a part of it panics.
pub async fn run<N: Noun>(
    hub: Hub<N>,
    actor: Actor,
    policy: watch::Receiver<Arc<N::Policy>>,
    clock: Clock,
    mut leadership: Leadership,
    steps: Arc<dyn Steps<N::Step>>,
    prepare: impl AsyncFn(),
) -> anyhow::Result<()> {
    let mut synced = hub.synced();
    loop {
        tokio::select! {
            () = leadership.begins() => {}
            // Somebody else decides; keys must not pile up here.
            _ = hub.dirty() => continue,
        }
        let held = leadership.clone();
        let working = async {
            let listed = synced.wait_for(|synced| *synced).await.is_ok();
            anyhow::ensure!(listed, "nobody lists the pods");
            prepare().await;
            hub.decide_all_again();
            info!("the lifecycle runs here");
            work(&hub, &actor, policy.clone(), &clock, &held, &steps).await
        };
        tokio::select! {
            biased;
            () = leadership.ends() => warn!("the lease is lost: the lifecycle stops here"),
            ended = working => return ended,
        }
    }
}

async fn work<N: Noun>(
    hub: &Hub<N>,
    actor: &Actor,
    mut policy: watch::Receiver<Arc<N::Policy>>,
    clock: &Clock,
    leadership: &Leadership,
    steps: &Arc<dyn Steps<N::Step>>,
) -> anyhow::Result<()> {
    let mut queue = Queue::default();
    let mut working: JoinSet<(Arc<str>, Ended)> = JoinSet::new();
    let mut busy: HashSet<Arc<str>> = HashSet::new();
    let mut again: HashSet<Arc<str>> = HashSet::new();
    let mut failures: HashMap<Arc<str>, u32> = HashMap::new();
    let mut stops = Stops::default();
    let mut running: Running<N::Step, Ended> = Running::new();
    let mut shared = Shared::default();
    let acting = Acting {
        actor: actor.clone(),
        hub: hub.clone(),
        parallel: Arc::new(Semaphore::new(PARALLEL)),
        leadership: leadership.clone(),
    };
    loop {
        let due: Vec<Arc<str>> = tokio::select! {
            names = hub.dirty() => names,
            () = clock.sleep_until(queue.next()) => queue.take(clock.now()),
            () = clock.sleep_until(shared.wake_at), if shared.wake_at.is_some() => {
                shared.is_due = true;
                shared.wake_at = None;
                Vec::new()
            }
            Some(done) = working.join_next() => {
                let (name, ended) = done?;
                busy.remove(&name);
                if shared.acting.remove(&name) && matches!(ended, Ended::Failed { .. }) {
                    shared.wake_at = Some(clock.now() + BACKOFF.after(0));
                }
                match ended {
                    Ended::Well => {
                        failures.remove(&name);
                        stops.went_well(&name);
                    }
                    Ended::Failed { retry_after } => {
                        pause(&mut queue, &mut failures, &name, clock.now(), retry_after);
                    }
                }
                if again.remove(&name) { vec![name] } else { Vec::new() }
            }
            ended = running.next() => {
                let (key, ended) = ended?;
                match ended {
                    Ended::Well => drop(failures.remove(&key)),
                    Ended::Failed { retry_after } => {
                        pause(&mut queue, &mut failures, &key, clock.now(), retry_after);
                    }
                }
                continue;
            }
            Ok(()) = policy.changed() => {
                hub.decide_all_again();
                continue;
            }
        };
        // What groups share is decided on before any of them, and not while a decision on it is carried out.
        shared.is_due |= hub.shares();
        if shared.is_due && shared.acting.is_empty() {
            shared.is_due = false;
            let now = clock.now();
            let together = hub.decide_together(&policy.borrow().clone(), now);
            shared.wake_at = together.wake_at;
            for (key, decision) in together.decisions {
                if !busy.insert(Arc::clone(&key)) {
                    // The group acts: its next pass comes when that has ended.
                    shared.wake_at = Some(now + BACKOFF.after(0));
                    continue;
                }
                shared.acting.insert(Arc::clone(&key));
                let named = hub.read(|index| {
                    let group = index.group(&key);
                    group.map(|group| (Arc::clone(&group.name), N::id(group).to_owned()))
                });
                let (name, id) = named.unwrap_or_else(|| (Arc::clone(&key), String::new()));
                working.spawn(acting.begin(key, name, &id, decision));
            }
        }
        for key in due {
            if busy.contains(&key) {
                again.insert(key);
                continue;
            }
            let now = clock.now();
            let policy = Arc::clone(&policy.borrow());
            let Some((name, decision)) = hub.decide(&key, &policy, now) else {
                queue.clear(&key);
                failures.remove(&key);
                stops.forget(&key);
                // One of which an answer showed more than the watch is decided on as soon as that has it.
                if hub.read(|index| index.group(&key).is_none()) {
                    running.end(&key);
                }
                continue;
            };
            match decision.wake_at {
                Some(wake) => queue.set(&key, wake.at),
                None => queue.clear(&key),
            }
            let rule = decision.rule;
            let group = || {
                let id = hub.read(|index| {
                    let group = index.group(&key);
                    group.map(|group| N::id(group).to_owned())
                });
                id.unwrap_or_default()
            };
            running.follow(
                &key,
                decision.step.clone(),
                || spans::act(N::KIND, &group(), rule),
                |step| take(Arc::clone(steps), step, actor.clone(), leadership.clone()),
            );
            if !decision.actions.is_empty() {
                busy.insert(Arc::clone(&key));
                stops.begin(hub, &key, &decision);
                let id = group();
                working.spawn(acting.begin(key, name, &id, decision));
            }
        }
    }
}

/// What groups share, and the decisions on it.
#[derive(Debug, Default)]
struct Shared {
    /// It is to be decided on.
    is_due: bool,
    wake_at: Option<Timestamp>,
    /// Groups with a decision on it that is carried out.
    acting: HashSet<Arc<str>>,
}

/// Decides again later: the more often it failed, the later.
fn pause(
    queue: &mut Queue,
    failures: &mut HashMap<Arc<str>, u32>,
    key: &Arc<str>,
    now: Timestamp,
    retry_after: Option<Duration>,
) {
    let count = failures.entry(Arc::clone(key)).or_default();
    let pause = BACKOFF.after(*count).max(retry_after.unwrap_or_default());
    queue.set(key, now + pause);
    *count += 1;
}

/// Carries out a step, and writes what came of it.
async fn take<S: 'static>(
    steps: Arc<dyn Steps<S>>,
    step: S,
    actor: Actor,
    leadership: Leadership,
) -> Ended {
    let outcome = match steps.carry_out(step).await {
        Ok(actions) => act_all(&actor, &actions, &leadership).await,
        Err(error) => Err(Some(error)),
    };
    match outcome {
        Ok(()) => Ended::Well,
        Err(None) => Ended::Failed { retry_after: None },
        Err(Some(error)) => {
            warn!(%error, "a step failed, will decide again");
            Ended::Failed {
                retry_after: error.retry_after(),
            }
        }
    }
}

/// Carries out actions in order; the first that fails ends it. Fails without an error when the Lease is lost.
async fn act_all(
    actor: &Actor,
    actions: &[Action],
    leadership: &Leadership,
) -> Result<(), Option<Error>> {
    for action in actions {
        // A process that was stopped for a while finds here that its time is over, before it does anything (F-W14).
        if !leadership.holds() {
            return Err(None);
        }
        actor.act(action, Instant::now() + LIMIT).await?;
    }
    Ok(())
}

/// How the actions of a decision, or its step, went.
#[derive(Debug)]
enum Ended {
    Well,
    Failed { retry_after: Option<Duration> },
}

/// Carries out the actions of decisions.
struct Acting<N: Noun> {
    actor: Actor,
    hub: Hub<N>,
    parallel: Arc<Semaphore>,
    leadership: Leadership,
}

impl<N: Noun> Acting<N> {
    /// Begins to carry out a decision on the group with a key and an id, whose anchor has a name.
    fn begin(
        &self,
        key: Arc<str>,
        name: Arc<str>,
        id: &str,
        decision: Decision<N::Step>,
    ) -> impl Future<Output = (Arc<str>, Ended)> + Send + 'static {
        let this = Self {
            actor: self.actor.clone(),
            hub: self.hub.clone(),
            parallel: Arc::clone(&self.parallel),
            leadership: self.leadership.clone(),
        };
        let span = spans::act(N::KIND, id, decision.rule);
        async move { (key, this.carry_out(&name, &decision).await) }.instrument(span)
    }

    async fn carry_out(&self, name: &str, decision: &Decision<N::Step>) -> Ended {
        let Ok(_permit) = self.parallel.acquire().await else {
            return Ended::Failed { retry_after: None };
        };
        if let Err(error) = act_all(&self.actor, &decision.actions, &self.leadership).await {
            match &error {
                None => {}
                // Logged once for all, where requests are sent.
                Some(error @ Error::Unreachable { .. }) => {
                    debug!(pod = %name, %error, "cannot act")
                }
                Some(error) => warn!(pod = %name, %error, "cannot act, will decide again"),
            }
            let retry_after = error.and_then(|error| error.retry_after());
            return Ended::Failed { retry_after };
        }
        debug!(pod = %name, actions = decision.actions.len(), "acted");
        if decision.unannounced {
            warn!(
                pod = %name,
                "let go of a pod whose STOPPED the message bus has not confirmed in time"
            );
            self.hub.let_go_unannounced();
        }
        Ended::Well
    }
}

/// What the log says of stops: each once, with its reason, however often it has to be asked for.
#[derive(Debug, Default)]
struct Stops {
    begun: HashMap<Arc<str>, Stop>,
    /// By the name of the pod: its uid, and whether it was removed by force.
    logged: HashMap<Arc<str>, (String, bool)>,
}

#[derive(Debug)]
struct Stop {
    noun: &'static str,
    pod: String,
    uid: String,
    by_force: bool,
    rule: &'static str,
    about: About,
}

impl Stops {
    /// Notes a decision that ends a pod.
    fn begin<N: Noun>(&mut self, hub: &Hub<N>, key: &Arc<str>, decision: &Decision<N::Step>) {
        let stop = decision.actions.iter().find_map(|action| match action {
            Action::Stop(pod, _) => Some((pod, false)),
            Action::ForceDelete(pod) => Some((pod, true)),
            _ => None,
        });
        self.begun.remove(key);
        let Some((pod, by_force)) = stop else { return };
        let Some(about) = hub.read(|index| index.group(key).map(N::about)) else {
            return;
        };
        let stop = Stop {
            noun: N::KIND,
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            by_force,
            rule: decision.rule,
            about,
        };
        self.begun.insert(Arc::clone(key), stop);
    }

    /// Logs what was begun, unless it was logged before.
    fn went_well(&mut self, name: &Arc<str>) {
        let Some(stop) = self.begun.remove(name) else {
            return;
        };
        let this = (stop.uid.clone(), stop.by_force);
        if self.logged.get(name) == Some(&this) {
            return;
        }
        let Stop { noun, about, .. } = &stop;
        let reason = about.reason.as_deref().unwrap_or(stop.rule);
        info!(
            noun,
            group = about.id,
            owner = about.owner,
            meta_id = about.meta_id,
            pod = stop.pod,
            rule = stop.rule,
            reason,
            "{}",
            match stop.by_force {
                true => format!("removing the pod of a {noun} by force"),
                false => format!("stopping a {noun}"),
            }
        );
        self.logged.insert(Arc::clone(name), this);
    }

    fn forget(&mut self, name: &Arc<str>) {
        self.begun.remove(name);
        self.logged.remove(name);
    }
}

/// Which group to look at when; each at most once.
#[derive(Debug, Default)]
struct Queue {
    by_time: BTreeSet<(Timestamp, Arc<str>)>,
    by_name: HashMap<Arc<str>, Timestamp>,
}

impl Queue {
    fn next(&self) -> Option<Timestamp> {
        self.by_time.first().map(|(moment, _)| *moment)
    }

    fn set(&mut self, name: &Arc<str>, moment: Timestamp) {
        self.clear(name);
        self.by_name.insert(Arc::clone(name), moment);
        self.by_time.insert((moment, Arc::clone(name)));
    }

    fn clear(&mut self, name: &Arc<str>) {
        if let Some(moment) = self.by_name.remove(name) {
            self.by_time.remove(&(moment, Arc::clone(name)));
        }
    }

    fn take(&mut self, now: Timestamp) -> Vec<Arc<str>> {
        let mut due = Vec::new();
        while let Some((moment, _)) = self.by_time.first()
            && *moment <= now
        {
            let Some((_, name)) = self.by_time.pop_first() else {
                break;
            };
            self.by_name.remove(&name);
            due.push(name);
        }
        due
    }
}
