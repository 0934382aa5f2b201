//! Holds the Lease, or waits for it, and tells the rest of the daemon. `crate::lease` decides, this does the IO.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::act::{Actor, Outcome};
use super::informer::{self, Event, Selection};
use crate::clock::Clock;
use crate::error::Error;
use crate::lease::{Election, NAME, Standing, Step};
use crate::objects::Lease;
use crate::tenure::Tenure;

/// Bound on one request; two of them fit before a holder must stop.
const LIMIT: Duration = Duration::from_secs(4);
/// Attempts to release: one, and one more where a renewal came between.
const RELEASES: usize = 3;

/// One replica's share in the Lease.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "the client has none")]
pub struct Keeper {
    shared: Arc<Shared>,
    actor: Actor,
    clock: Clock,
}

struct Shared {
    election: Mutex<Election>,
    standing: watch::Sender<Standing>,
    news: Notify,
}

impl Keeper {
    /// Returns a keeper that says in `standing` where the replica stands. `identity` must be another after every start.
    pub fn new(
        actor: Actor,
        clock: Clock,
        identity: String,
        standing: watch::Sender<Standing>,
    ) -> Self {
        let shared = Arc::new(Shared {
            election: Mutex::new(Election::new(identity)),
            standing,
            news: Notify::new(),
        });
        Self {
            shared,
            actor,
            clock,
        }
    }

    /// Returns the view of those who act only while the Lease is held.
    pub fn tenure(&self) -> Tenure {
        Tenure::new(self.shared.standing.subscribe(), self.clock.clone())
    }

    /// Takes the Lease when it is free and renews it, for ever.
    ///
    /// # Errors
    /// None; it is cut.
    pub async fn keep(self) -> anyhow::Result<()> {
        let mut told = String::new();
        loop {
            let begun = self.clock.elapsed();
            let step = self.election().step(begun, self.clock.now());
            let outcome = match step {
                Step::Wait(until) => {
                    tokio::select! {
                        () = self.clock.sleep_until_elapsed(Some(until)) => {}
                        () = self.shared.news.notified() => {}
                    }
                    continue;
                }
                Step::Read => self.actor.read_lease(Instant::now() + LIMIT).await,
                Step::Write(claim) => self.write(&claim, Instant::now() + LIMIT).await,
            };
            match outcome {
                Ok(lease) => {
                    told.clear();
                    self.update(|election, now| election.read(lease, now));
                }
                Err(Error::Aborted { .. }) => self.update(|election, _| election.conflict()),
                Err(failure) => {
                    tell(&mut told, &failure);
                    self.update(|election, _| election.fail(begun));
                }
            }
        }
    }

    /// Listens to what others do with the Lease, so that one that is released is noticed at once; for ever.
    ///
    /// # Errors
    /// None; it is cut.
    pub async fn listen(self, client: Client, namespace: String) -> anyhow::Result<()> {
        let selection = Selection {
            kind: "leases",
            path: format!("/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"),
            labels: String::new(),
            fields: format!("metadata.name={NAME}"),
        };
        informer::follow(client, selection, |event: Event<Lease>| match event {
            Event::Item(lease) | Event::Apply(lease) => {
                self.update(|election, now| election.hear(lease, now))
            }
            Event::Delete(lease) => {
                let version = lease.metadata.version();
                self.update(|election, _| election.hear_absence(version));
            }
            Event::Listed { names, version } if names.is_empty() => {
                self.update(|election, _| election.hear_absence(version));
            }
            Event::Listed { .. } | Event::Alive => {}
        })
        .await;
        Ok(())
    }

    /// Gives the Lease back, if it is held. To be called when nothing acts any more and [`Keeper::keep`] was cut.
    pub async fn release(&self, deadline: Instant) {
        for _ in 0..RELEASES {
            let release = self.election().release(self.clock.now());
            let Some(claim) = release else { return };
            match self.write(&claim, deadline).await {
                Ok(_) => {
                    info!("released the lease");
                    return;
                }
                // A renewal that was cut may have been stored.
                Err(Error::Aborted { .. }) => match self.actor.read_lease(deadline).await {
                    Ok(lease) => self.update(|election, now| election.read(lease, now)),
                    Err(failure) => return warn!(%failure, "cannot release the lease"),
                },
                Err(failure) => return warn!(%failure, "cannot release the lease"),
            }
        }
    }

    async fn write(
        &self,
        claim: &crate::action::Action,
        deadline: Instant,
    ) -> Result<Option<Lease>, Error> {
        match self.actor.act(claim, deadline).await? {
            Outcome::Claimed(lease) => Ok(Some(*lease)),
            // No other action claims.
            _ => Ok(None),
        }
    }

    fn update(&self, change: impl FnOnce(&mut Election, Duration)) {
        let mut election = self.election();
        let now = self.clock.elapsed();
        change(&mut election, now);
        let standing = election.standing(now);
        // Sent under the lock, so that an older standing never comes after a newer one.
        self.shared.standing.send_if_modified(|known| {
            if *known == standing {
                return false;
            }
            announce(known, &standing);
            *known = standing;
            true
        });
        drop(election);
        self.shared.news.notify_one();
    }

    fn election(&self) -> MutexGuard<'_, Election> {
        // An election has no invariant that a panic could break.
        self.shared
            .election
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn announce(before: &Standing, now: &Standing) {
    match (before, now) {
        (Standing::Holds { .. }, Standing::Holds { .. }) => {}
        (_, Standing::Holds { .. }) => info!("this replica holds the lease"),
        (_, Standing::Follows { holder }) => info!(holder, "another replica holds the lease"),
        (_, Standing::Waits) => info!("nobody is known to hold the lease"),
    }
}

/// Tells a failure once, until it is another.
fn tell(told: &mut String, failure: &Error) {
    let why = failure.to_string();
    if *told == why {
        return;
    }
    match failure {
        Error::Denied { .. } => error!(
            why,
            "NO RIGHT TO THE LEASE: calls are answered, but unless another replica holds it no workspace becomes ready, \
             times out or ends; grant get, list, watch, create and patch on leases.coordination.k8s.io"
        ),
        _ => warn!(why, "cannot hold the lease"),
    }
    *told = why;
}
