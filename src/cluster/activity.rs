//! Keeps recorded activity and the hub's in step: follows the ConfigMaps and writes checkpoints.

use std::time::Duration;

use futures::future::join_all;
use kube::Client;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::act::Actor;
use super::informer::{self, Event, Selection};
use crate::action::{Action, Checkpoint};
use crate::clock::Clock;
use crate::error::Error;
use crate::hub::Hub;
use crate::leadership::Leadership;
use crate::objects::ConfigMap;
use crate::readiness::Component;
use crate::workspaces::activity::RECORD;
use crate::workspaces::activity::last_activity::{FULL, INTERVAL};
use crate::workspaces::marks::label;

/// Bound on one write; one that fails is made again with the next checkpoint.
const LIMIT: Duration = INTERVAL;
/// First and longest pause between attempts to read.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Feeds the hub with what all replicas recorded, for ever.
///
/// # Errors
/// None; it is cut.
pub async fn follow(
    client: Client,
    namespace: String,
    hub: Hub,
    component: Component,
) -> anyhow::Result<()> {
    let selection = Selection {
        kind: "configmaps",
        path: format!("/api/v1/namespaces/{namespace}/configmaps"),
        labels: format!("{}={RECORD}", label::RECORD),
        fields: String::new(),
        component,
    };
    informer::follow(client, selection, |event: Event<ConfigMap>| match event {
        Event::Item(record) | Event::Apply(record) => hub.record_activity(&record),
        Event::Delete(record) => {
            hub.lose_activity(&record.metadata.name, record.metadata.version());
        }
        // One that vanished unseen is found missing by the next write to it.
        Event::Listed { .. } | Event::Alive => {}
    })
    .await;
    Ok(())
}

/// Reads all that was recorded, however long it takes: without it workspaces would look idle that are not.
pub async fn read(actor: &Actor, clock: &Clock) {
    let (mut pause, mut told) = (PAUSE.0, String::new());
    while let Err(error) = actor.read_activity(Instant::now() + LIMIT).await {
        let why = error.to_string();
        let is_logged = matches!(error, Error::Unreachable { .. });
        if why != told && !is_logged {
            warn!(why, "the lifecycle waits for the recorded activity");
            told = why;
        }
        clock
            .sleep_until_elapsed(Some(clock.elapsed() + pause))
            .await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// Writes checkpoints for ever: at once after a quiet time, then at most one per ConfigMap and interval.
///
/// # Errors
/// None; it is cut.
pub async fn keep(
    hub: Hub,
    actor: Actor,
    leadership: Leadership,
    clock: Clock,
) -> anyhow::Result<()> {
    let mut crowded = false;
    loop {
        let due = hub.checkpoint_due(leadership.holds());
        tokio::select! {
            () = clock.sleep_until_elapsed(due) => {}
            () = hub.unrecorded() => continue,
        }
        let (checkpoints, left_out) =
            hub.checkpoints(clock.elapsed(), clock.now(), leadership.holds(), false);
        if left_out > 0 && !crowded {
            warn!(
                left_out,
                "{FULL} workspaces fill a ConfigMap: the activity of others does not survive a restart"
            );
        }
        crowded = left_out > 0;
        write(&actor, checkpoints, Instant::now() + LIMIT).await;
    }
}

/// Writes what was not yet recorded. To be called when [`keep`] was cut.
pub async fn finish(hub: &Hub, actor: &Actor, clock: &Clock, deadline: Instant) {
    let (checkpoints, _) = hub.checkpoints(clock.elapsed(), clock.now(), false, true);
    if !checkpoints.is_empty() {
        info!("recording the last activity");
    }
    write(actor, checkpoints, deadline).await;
}

async fn write(actor: &Actor, checkpoints: Vec<Checkpoint>, deadline: Instant) {
    let writes = checkpoints.into_iter().map(|checkpoint| async move {
        let name = checkpoint.name.clone();
        if let Err(error) = actor.act(&Action::Checkpoint(checkpoint), deadline).await {
            match error {
                // Logged once for all, by whoever sends the requests.
                Error::Unreachable { .. } => {
                    debug!(record = name, %error, "cannot record activity")
                }
                _ => warn!(record = name, %error, "cannot record activity, will try again"),
            }
        }
    });
    join_all(writes).await;
}
