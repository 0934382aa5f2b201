//! Synchronises recorded activity with the hub: watches the ConfigMaps and writes checkpoints.

use std::time::Duration;

use futures::future::join_all;
use kube::Client;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::action::{Action, Checkpoint};
use crate::clock::Clock;
use crate::cluster::act::{Actor, Outcome};
use crate::cluster::informer::{self, Event, Selection};
use crate::error::Error;
use crate::hub::Hub;
use crate::leadership::Leadership;
use crate::objects::ConfigMap;
use crate::readiness::Component;
use crate::retry::{Backoff, LogOnce};
use crate::workspaces::activity::last_activity::{FULL, INTERVAL};
use crate::workspaces::activity::{self, RECORD};
use crate::workspaces::entry::Workspace;
use crate::workspaces::marks::label;

/// Timeout of one write; a failed one is retried with the next checkpoint.
const WRITE_TIMEOUT: Duration = INTERVAL;
/// Between attempts to read.
const BACKOFF: Backoff = Backoff::millis(200, 5_000);

/// Feeds the hub with the activity that all replicas record, for ever.
///
/// # Errors
/// None; it is cut.
pub(in crate::daemon) async fn follow(
    client: Client,
    namespace: String,
    hub: Hub<Workspace>,
    component: Component,
) -> anyhow::Result<()> {
    let selection = Selection {
        labels: format!("{}={RECORD}", label::RECORD),
        ..Selection::namespaced("configmaps", &namespace, component)
    };
    informer::follow(client, selection, |event: Event<ConfigMap>| match event {
        Event::Item(record) | Event::Apply(record) => take(&hub, &record, true),
        Event::Delete(record) => take(&hub, &record, false),
        // One that vanished unseen is found missing by the next write to it.
        Event::Listed { .. } | Event::Alive => {}
    })
    .await;
    Ok(())
}

/// Reads all recorded activity, however long it takes: without it, active workspaces would look idle.
pub(in crate::daemon) async fn read(hub: &Hub<Workspace>, actor: &Actor, clock: &Clock) {
    let (mut failures, mut logged) = (0, LogOnce::default());
    let labels = format!("{}={RECORD}", label::RECORD);
    loop {
        let deadline = Instant::now() + WRITE_TIMEOUT;
        let error = match actor.read_records(&labels, deadline).await {
            Ok(records) => {
                records.iter().for_each(|record| take(hub, record, true));
                return;
            }
            Err(error) => error,
        };
        let why = error.to_string();
        let is_logged = matches!(error, Error::Unreachable { .. });
        if !is_logged && logged.is_new(&why) {
            warn!(why, "the lifecycle waits for the recorded activity");
        }
        let wait = clock.elapsed() + BACKOFF.after(failures);
        clock.sleep_until_elapsed(Some(wait)).await;
        failures += 1;
    }
}

/// Writes checkpoints for ever: at once after a quiet time, then at most one per ConfigMap and interval.
///
/// # Errors
/// None; it is cut.
pub(in crate::daemon) async fn keep(
    hub: Hub<Workspace>,
    actor: Actor,
    leadership: Leadership,
    clock: Clock,
) -> anyhow::Result<()> {
    let mut crowded = false;
    loop {
        let holder = leadership.holds();
        let due = hub.read_with_noun(|_, noun| noun.last_activity.due(holder));
        tokio::select! {
            () = clock.sleep_until_elapsed(due) => {}
            () = hub.noun_changed() => continue,
        }
        let (checkpoints, left_out) = checkpoints(&hub, &clock, leadership.holds(), false);
        if left_out > 0 && !crowded {
            warn!(
                left_out,
                "{FULL} workspaces fill a ConfigMap: the activity of others does not survive a restart"
            );
        }
        crowded = left_out > 0;
        write(&hub, &actor, checkpoints, Instant::now() + WRITE_TIMEOUT).await;
    }
}

/// Writes what was not yet recorded. To be called when [`keep`] was cut.
pub(in crate::daemon) async fn finish(
    hub: &Hub<Workspace>,
    actor: &Actor,
    clock: &Clock,
    deadline: Instant,
) {
    let (checkpoints, _) = checkpoints(hub, clock, false, true);
    if !checkpoints.is_empty() {
        info!("recording the last activity");
    }
    write(hub, actor, checkpoints, deadline).await;
}

/// Takes in a ConfigMap as it is, or that it is gone.
fn take(hub: &Hub<Workspace>, record: &ConfigMap, exists: bool) {
    let meta = &record.metadata;
    let data = exists.then_some(&record.data);
    hub.change_noun(|index, noun| {
        activity::records::read_record(index, noun, &meta.name, data, meta.version())
    });
}

fn checkpoints(
    hub: &Hub<Workspace>,
    clock: &Clock,
    holder: bool,
    end: bool,
) -> (Vec<Checkpoint>, usize) {
    let (elapsed, now) = (clock.elapsed(), clock.now());
    hub.with_noun(|index, noun| {
        activity::records::checkpoints(index, noun, elapsed, now, holder, end)
    })
}

async fn write(
    hub: &Hub<Workspace>,
    actor: &Actor,
    checkpoints: Vec<Checkpoint>,
    deadline: Instant,
) {
    let writes = checkpoints.into_iter().map(|checkpoint| async move {
        let name = checkpoint.name.clone();
        match actor.act(&Action::Checkpoint(checkpoint), deadline).await {
            Ok(Outcome::Recorded(record)) => take(hub, &record, true),
            Ok(_) => {}
            // Logged once for all, by the sender of the requests.
            Err(error @ Error::Unreachable { .. }) => {
                debug!(record = name, %error, "cannot record activity");
            }
            Err(error) => warn!(record = name, %error, "cannot record activity, will try again"),
        }
    });
    join_all(writes).await;
}
