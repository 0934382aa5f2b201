//! Leader election: holds the Lease, or waits for it, and publishes the state. `crate::lease` decides, this does the
//! IO.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::act::{Actor, Outcome};
use super::informer::{self, Event, Selection};
use super::process;
use crate::action::Action;
use crate::clock::Clock;
use crate::error::Error;
use crate::leadership::Leadership;
use crate::lease::identity::{Identity, Relation};
use crate::lease::{Election, LeaseState, NAME, RETRY, Step};
use crate::objects::Lease;
use crate::readiness::Component;

/// Timeout of one request; two of them fit into the renew deadline.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);
/// Attempts to release: one, and one more after a concurrent renewal.
const RELEASES: usize = 3;

/// One replica's leader election.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "the client has none")]
pub struct LeaderElector {
    shared: Arc<Shared>,
    actor: Actor,
    clock: Clock,
    component: Component,
}

struct Shared {
    /// None if the identity has no process.
    identity: Option<Identity>,
    election: Mutex<Election>,
    lease_state: watch::Sender<LeaseState>,
    news: Notify,
}

impl LeaderElector {
    /// Returns an elector that publishes to `lease_state`. `identity` must be new at every start. The component is
    /// not ready until the leader is known, and while rights to the Lease are missing.
    pub fn new(
        actor: Actor,
        clock: Clock,
        identity: String,
        lease_state: watch::Sender<LeaseState>,
        component: Component,
    ) -> Self {
        component.not_ready("nothing is known of the lease yet");
        let shared = Arc::new(Shared {
            identity: identity.parse().ok(),
            election: Mutex::new(Election::new(identity)),
            lease_state,
            news: Notify::new(),
        });
        Self {
            shared,
            actor,
            clock,
            component,
        }
    }

    /// Returns the view of what runs only on the leader.
    pub fn leadership(&self) -> Leadership {
        Leadership::new(self.shared.lease_state.subscribe(), self.clock.clone())
    }

    /// Acquires the Lease when it is free and renews it, for ever.
    ///
    /// # Errors
    /// None; it is cancelled.
    pub async fn run(self) -> anyhow::Result<()> {
        let mut failing: Option<Failing> = None;
        loop {
            let near = self.check_the_holder();
            let begun = self.clock.elapsed();
            let step = self.election().step(begun, self.clock.now());
            let (verb, outcome) = match step {
                Step::Wait(until) => {
                    // A process on this machine may end at any moment without a notification.
                    let until = if near {
                        until.min(begun + RETRY)
                    } else {
                        until
                    };
                    tokio::select! {
                        () = self.clock.sleep_until_elapsed(Some(until)) => {}
                        () = self.shared.news.notified() => {}
                    }
                    continue;
                }
                Step::Read => (
                    "get",
                    self.actor
                        .read_lease(Instant::now() + REQUEST_TIMEOUT)
                        .await,
                ),
                Step::Write(update) => {
                    let verb = match &update {
                        Action::UpdateLease(update) if update.version.is_none() => "create",
                        _ => "patch",
                    };
                    (
                        verb,
                        self.write(&update, Instant::now() + REQUEST_TIMEOUT).await,
                    )
                }
            };
            match outcome {
                Ok(lease) => {
                    // The right to read it does not imply the right to write it.
                    if verb != "get" || failing.as_ref().is_none_or(|failing| failing.verb == "get")
                    {
                        failing = None;
                        self.component.ready();
                    }
                    self.update(|election, now| election.read(lease, now));
                }
                Err(Error::Aborted { .. }) => self.update(|election, _| election.conflict()),
                Err(failure) => {
                    self.report(&mut failing, verb, &failure);
                    self.update(|election, _| election.fail(begun));
                }
            }
        }
    }

    /// Frees the Lease of a holder whose process ended on this machine. Returns whether its process can be checked
    /// again.
    fn check_the_holder(&self) -> bool {
        // Not borrowed for longer: the sender of the state holds the lock of the election.
        let lease_state = self.shared.lease_state.borrow().clone();
        let (Some(own), LeaseState::Follower { holder }) = (&self.shared.identity, lease_state)
        else {
            return false;
        };
        if !process::is_gone(own, &holder) {
            let near = |other| own.relation(&other) != Relation::Elsewhere;
            return holder.parse().is_ok_and(near);
        }
        if self.election().mark_gone(&holder) {
            info!(
                holder,
                "the process that holds the lease has ended: taking over at once"
            );
        }
        false
    }

    /// Logs each failure once, and names a missing right.
    fn report(&self, failing: &mut Option<Failing>, verb: &'static str, failure: &Error) {
        let why = failure.to_string();
        match failure {
            Error::Denied { .. } => {
                let reason = format!("cannot {verb} leases.coordination.k8s.io: {why}");
                self.component.not_ready(reason);
            }
            // Another component shows whether the server answers.
            _ if failing.is_none() => self.component.ready(),
            _ => {}
        }
        if failing.as_ref().is_some_and(|failing| failing.why == why) {
            return;
        }
        match failure {
            Error::Denied { .. } => error!(
                verb,
                why,
                "NO RIGHT TO THE LEASE: calls are answered, but unless another replica holds it nothing becomes ready, \
                 times out or ends; grant get, list, watch, create and patch on leases.coordination.k8s.io"
            ),
            // Logged once, where requests are sent.
            Error::Unreachable { .. } => debug!(verb, why, "cannot hold the lease"),
            _ => warn!(verb, why, "cannot hold the lease"),
        }
        *failing = Some(Failing { verb, why });
    }

    /// Watches the Lease, so that a release is noticed at once; for ever.
    ///
    /// # Errors
    /// None; it is cancelled.
    pub async fn watch(
        self,
        client: Client,
        namespace: String,
        component: Component,
    ) -> anyhow::Result<()> {
        let selection = Selection {
            kind: "leases",
            path: format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
            labels: String::new(),
            fields: format!("metadata.name={NAME}"),
            component,
        };
        informer::follow(client, selection, |event: Event<Lease>| match event {
            Event::Item(lease) | Event::Apply(lease) => {
                self.update(|election, now| election.observe(lease, now))
            }
            Event::Delete(lease) => {
                let version = lease.metadata.version();
                self.update(|election, _| election.observe_absence(version));
            }
            Event::Listed { names, version } if names.is_empty() => {
                self.update(|election, _| election.observe_absence(version));
            }
            Event::Listed { .. } | Event::Alive => {}
        })
        .await;
        Ok(())
    }

    /// Releases the Lease, if it is held, after everything that needs it has stopped and [`LeaderElector::run`] is
    /// cancelled.
    pub async fn release(&self, deadline: Instant) {
        for _ in 0..RELEASES {
            let release = self.election().release(self.clock.now());
            let Some(update) = release else { return };
            match self.write(&update, deadline).await {
                Ok(_) => {
                    info!("released the lease");
                    return;
                }
                // A cancelled renewal may be stored.
                Err(Error::Aborted { .. }) => match self.actor.read_lease(deadline).await {
                    Ok(lease) => self.update(|election, now| election.read(lease, now)),
                    Err(failure) => return warn!(%failure, "cannot release the lease"),
                },
                Err(failure) => return warn!(%failure, "cannot release the lease"),
            }
        }
    }

    async fn write(&self, update: &Action, deadline: Instant) -> Result<Option<Lease>, Error> {
        match self.actor.act(update, deadline).await? {
            Outcome::Lease(lease) => Ok(Some(*lease)),
            // No other action writes a Lease.
            _ => Ok(None),
        }
    }

    fn update(&self, change: impl FnOnce(&mut Election, Duration)) {
        let mut election = self.election();
        let now = self.clock.elapsed();
        change(&mut election, now);
        let lease_state = election.lease_state(now);
        let wait = election.wait(now, self.clock.now());
        // Sent under the lock, so that an older state never follows a newer one.
        self.shared.lease_state.send_if_modified(|known| {
            if *known == lease_state {
                return false;
            }
            announce(known, &lease_state, wait);
            *known = lease_state;
            true
        });
        drop(election);
        self.shared.news.notify_one();
    }

    fn election(&self) -> MutexGuard<'_, Election> {
        // A panic cannot break an election.
        self.shared
            .election
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that keeps failing.
struct Failing {
    verb: &'static str,
    why: String,
}

fn announce(before: &LeaseState, now: &LeaseState, wait: Duration) {
    match (before, now) {
        (LeaseState::Leader { .. }, LeaseState::Leader { .. }) => {}
        (_, LeaseState::Leader { .. }) => info!("this replica holds the lease"),
        (_, LeaseState::Follower { holder }) => info!(
            holder,
            ?wait,
            "another replica holds the lease; this one takes over when it is not renewed for so long"
        ),
        // The lifecycle logs that it stops.
        (_, LeaseState::Idle) => debug!("the lease has no known holder"),
    }
}
