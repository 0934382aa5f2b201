//! Drives the lifecycle: for every pod that changed, or whose time has come, decides and acts.
//!
//! One action sequence per pod at a time; different pods in parallel. A failed action is decided on again after a
//! growing pause, on the state as it is then. All this only on the replica that holds the Lease.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::act::Actor;
use super::activity;
use crate::action::Action;
use crate::clock::Clock;
use crate::error::Error;
use crate::hub::Hub;
use crate::leadership::Leadership;
use crate::workspaces::decide::LifecyclePolicy;
use crate::workspaces::ending;
use crate::workspaces::lifecycle::Decision;
use crate::workspaces::maintenance::Switch;

/// Bound on the actions of one decision.
const LIMIT: Duration = Duration::from_secs(30);
/// Decisions that are carried out at once; their writes wait for those of starts.
const PARALLEL: usize = 64;
/// First and longest pause after a failure.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// Decides and acts while the Lease is held, until it is cut. Every time it begins it has a complete view and looks at
/// every pod once.
///
/// # Errors
/// If a part of it panics.
pub async fn run(
    hub: Hub,
    actor: Actor,
    policy: watch::Receiver<Arc<LifecyclePolicy>>,
    maintenance: watch::Receiver<Switch>,
    clock: Clock,
    mut leadership: Leadership,
) -> anyhow::Result<()> {
    let mut synced = hub.synced();
    loop {
        tokio::select! {
            () = leadership.begins() => {}
            // Somebody else decides; names must not pile up here.
            _ = hub.dirty() => continue,
        }
        let held = leadership.clone();
        let working = async {
            let listed = synced.wait_for(|synced| *synced).await.is_ok();
            anyhow::ensure!(listed, "nobody lists the pods");
            activity::read(&actor, &clock).await;
            hub.decide_all_again();
            info!("the lifecycle runs here");
            let watched = (policy.clone(), maintenance.clone());
            work(&hub, &actor, watched, &clock, &held).await
        };
        tokio::select! {
            biased;
            () = leadership.ends() => warn!("the lease is lost: the lifecycle stops here"),
            ended = working => return ended,
        }
    }
}

async fn work(
    hub: &Hub,
    actor: &Actor,
    (mut policy, maintenance): (
        watch::Receiver<Arc<LifecyclePolicy>>,
        watch::Receiver<Switch>,
    ),
    clock: &Clock,
    leadership: &Leadership,
) -> anyhow::Result<()> {
    let mut queue = Queue::default();
    let mut working: JoinSet<(Arc<str>, Ended)> = JoinSet::new();
    let mut busy: HashSet<Arc<str>> = HashSet::new();
    let mut again: HashSet<Arc<str>> = HashSet::new();
    let mut failures: HashMap<Arc<str>, u32> = HashMap::new();
    let mut stops = Stops::default();
    let parallel = Arc::new(Semaphore::new(PARALLEL));
    loop {
        let due: Vec<Arc<str>> = tokio::select! {
            names = hub.dirty() => names,
            () = clock.sleep_until(queue.next()) => queue.take(clock.now()),
            Some(done) = working.join_next() => {
                let (name, ended) = done?;
                busy.remove(&name);
                match ended {
                    Ended::Well => {
                        failures.remove(&name);
                        stops.went_well(&name);
                    }
                    Ended::Failed { retry_after } => {
                        let count = failures.entry(Arc::clone(&name)).or_default();
                        let pause = pause(*count).max(retry_after.unwrap_or_default());
                        queue.set(&name, clock.now() + pause);
                        *count += 1;
                    }
                }
                if again.remove(&name) { vec![name] } else { continue }
            }
            Ok(()) = policy.changed() => {
                hub.decide_all_again();
                continue;
            }
        };
        for name in due {
            if busy.contains(&name) {
                again.insert(name);
                continue;
            }
            let now = clock.now();
            let policy = policy.borrow().under(*maintenance.borrow());
            let Some(decision) = hub.decide(&name, &policy, now) else {
                queue.clear(&name);
                failures.remove(&name);
                stops.forget(&name);
                continue;
            };
            match decision.wake_at {
                Some(wake) => queue.set(&name, wake.at),
                None => queue.clear(&name),
            }
            if !decision.actions.is_empty() {
                busy.insert(Arc::clone(&name));
                stops.begin(hub, &name, &decision);
                working.spawn(carry_out(
                    actor.clone(),
                    hub.clone(),
                    name,
                    decision,
                    Arc::clone(&parallel),
                    leadership.clone(),
                ));
            }
        }
    }
}

/// How the actions of a decision went.
#[derive(Debug)]
enum Ended {
    Well,
    Failed { retry_after: Option<Duration> },
}

/// Carries out actions in order; the first that fails ends it.
async fn carry_out(
    actor: Actor,
    hub: Hub,
    name: Arc<str>,
    decision: Decision,
    parallel: Arc<Semaphore>,
    leadership: Leadership,
) -> (Arc<str>, Ended) {
    let failed = Ended::Failed { retry_after: None };
    let Ok(_permit) = parallel.acquire().await else {
        return (name, failed);
    };
    for action in &decision.actions {
        // A process that was stopped for a while finds here that its time is over, before it does anything (F-W14).
        if !leadership.holds() {
            return (name, failed);
        }
        if let Err(error) = actor.act(action, Instant::now() + LIMIT).await {
            match error {
                // Logged once for all, by whoever sends the requests.
                Error::Unreachable { .. } => debug!(pod = %name, %error, "cannot act"),
                _ => warn!(pod = %name, %error, "cannot act, will decide again"),
            }
            let retry_after = error.retry_after();
            return (name, Ended::Failed { retry_after });
        }
    }
    debug!(pod = %name, actions = decision.actions.len(), "acted");
    if decision.unannounced {
        warn!(
            pod = %name,
            "let go of a pod whose STOPPED the message bus has not confirmed in time"
        );
        hub.let_go_unannounced();
    }
    (name, Ended::Well)
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
    uid: String,
    by_force: bool,
    rule: &'static str,
    workspace: String,
    owner: String,
    meta_id: String,
    reason: String,
}

impl Stops {
    /// Notes a decision that ends a pod.
    fn begin(&mut self, hub: &Hub, name: &Arc<str>, decision: &Decision) {
        let stop = decision.actions.iter().find_map(|action| match action {
            Action::Stop(pod, _) => Some((pod, false)),
            Action::ForceDelete(pod) => Some((pod, true)),
            _ => None,
        });
        self.begun.remove(name);
        let Some((pod, by_force)) = stop else { return };
        let status = hub.read(|index| index.by_name(name).map(|known| known.status.clone()));
        let Some(status) = status.map(|status| status.read()) else {
            return;
        };
        let reason = ending::reason(&status).unwrap_or_else(|| decision.rule.to_owned());
        let metadata = status.metadata.unwrap_or_default();
        let stop = Stop {
            uid: pod.uid.clone(),
            by_force,
            rule: decision.rule,
            workspace: status.id,
            owner: metadata.owner,
            meta_id: metadata.meta_id,
            reason,
        };
        self.begun.insert(Arc::clone(name), stop);
    }

    /// Logs what was begun, unless it was logged before.
    fn went_well(&mut self, name: &Arc<str>) {
        let Some(stop) = self.begun.remove(name) else {
            return;
        };
        let this = (stop.uid, stop.by_force);
        if self.logged.get(name) == Some(&this) {
            return;
        }
        info!(
            workspace = stop.workspace,
            owner = stop.owner,
            meta_id = stop.meta_id,
            pod = %name,
            rule = stop.rule,
            reason = stop.reason,
            "{}",
            match stop.by_force {
                true => "removing the pod of a workspace by force",
                false => "stopping a workspace",
            }
        );
        self.logged.insert(Arc::clone(name), this);
    }

    fn forget(&mut self, name: &Arc<str>) {
        self.begun.remove(name);
        self.logged.remove(name);
    }
}

fn pause(failures: u32) -> Duration {
    PAUSE.0.saturating_mul(1 << failures.min(10)).min(PAUSE.1)
}

/// Which pod to look at when; each at most once.
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
