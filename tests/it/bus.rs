//! The publisher against a real RabbitMQ. Names start with their fault (F-Q); [`Queue::check`] checks the history of a
//! consumer.

mod broken;
mod daemon;
mod noun;
mod refused;
mod sessions;
mod tail;

use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wsman::amqp::{Publisher, State, Timing};
use wsman::clock::Clock;
use wsman::config::{Broker, MessageBus, Tls};
use wsman::daemon::workspaces::feed;
use wsman::duration::GoDuration;
use wsman::hub::Hub;
use wsman::index::{Changes, Index};
use wsman::lease::LeaseState;
use wsman::proto::encoded::Encoded;
use wsman::proto::wsman::{WorkspaceMetadata, WorkspacePhase, WorkspaceStatus};

use wsman::leadership::Leadership;
use wsman::workspaces::entry::Workspace;
use wsman::workspaces::update::StatusUpdate;

use super::support::queue::{Arrived, Queue};
use super::support::world::{HASTY, TIMEOUT};

/// Timeout of a wait for a state of the publisher.
async fn reached(
    state: &mut watch::Receiver<State>,
    what: &str,
    wanted: impl FnMut(&State) -> bool,
) -> State {
    let waiting = tokio::time::timeout(TIMEOUT, state.wait_for(wanted)).await;
    let reached = waiting.map(|state| state.expect("the publisher lives").clone());
    reached.unwrap_or_else(|_| panic!("{what}: {:?}", state.borrow()))
}

fn bus(broker: Broker) -> MessageBus {
    MessageBus {
        broker,
        exchange: "wsman".to_owned(),
        tls: None,
        confirm_timeout: GoDuration::from_secs(20),
        window: 128,
        stopped_timeout: GoDuration::from_secs(300),
    }
}

/// A publisher on a hub that the test feeds.
struct Rig {
    hub: Hub<Workspace>,
    state: watch::Receiver<State>,
    lease_state: watch::Sender<LeaseState>,
    drain: CancellationToken,
    publisher: JoinHandle<anyhow::Result<()>>,
    version: u64,
}

/// Longer than any test.
const HOLDS: LeaseState = LeaseState::Leader {
    until: Duration::from_secs(86_400),
};

impl Rig {
    fn start(url: &str) -> Self {
        Self::with(bus(Broker::Url(url.to_owned())), HASTY)
    }

    fn with(bus: MessageBus, timing: Timing) -> Self {
        let hub = Hub::new(Index::default());
        let (publisher, state) = Publisher::new(bus, timing);
        let (lease_state, held) = watch::channel(HOLDS);
        let leadership = Leadership::new(held, Clock::system());
        let drain = CancellationToken::new();
        let publisher = tokio::spawn(publisher.run(feed(&hub), leadership, drain.clone()));
        Self {
            hub,
            state,
            lease_state,
            drain,
            publisher,
            version: 0,
        }
    }

    async fn connected(url: &str) -> Self {
        let mut rig = Self::start(url);
        rig.reached("connected", |state| state.is_connected).await;
        rig
    }

    async fn reached(&mut self, what: &str, wanted: impl FnMut(&State) -> bool) -> State {
        reached(&mut self.state, what, wanted).await
    }

    /// Sends an update of a workspace.
    fn update(&mut self, id: &str, phase: WorkspacePhase) {
        self.update_of("jane", id, phase, "");
    }

    fn update_of(&mut self, owner: &str, id: &str, phase: WorkspacePhase, message: &str) {
        self.version += 1;
        let status = WorkspaceStatus {
            id: id.to_owned(),
            status_version: self.version,
            phase: phase.into(),
            message: message.to_owned(),
            metadata: Some(WorkspaceMetadata {
                owner: owner.to_owned(),
                meta_id: format!("m-{id}"),
                ..Default::default()
            }),
            ..Default::default()
        };
        let update = StatusUpdate::new(&format!("uid-{id}"), Encoded::new(status));
        self.hub.change(|_| Changes {
            updates: vec![update.into()],
            ..Changes::default()
        });
    }

    /// Updates each of `workspaces` workspaces, `rounds` times, leaving the publisher time to read.
    async fn flow(&mut self, workspaces: usize, rounds: usize) {
        for _ in 0..rounds {
            for n in 0..workspaces {
                self.update(&format!("w{n}"), WorkspacePhase::Running);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Stops them all.
    fn end(&mut self, workspaces: usize) {
        for n in 0..workspaces {
            self.update(&format!("w{n}"), WorkspacePhase::Stopped);
        }
    }

    /// Drains the publisher.
    async fn drained(self) -> State {
        self.drain.cancel();
        self.publisher.await.unwrap().unwrap();
        self.state.borrow().clone()
    }
}

/// Whether every one of `workspaces` workspaces was published as STOPPED.
fn all_stopped(workspaces: usize) -> impl Fn(&[Arrived]) -> bool {
    move |history| {
        let stopped = history.iter().filter(|m| m.phase == "STOPPED");
        let ids: std::collections::HashSet<_> = stopped.map(|m| &m.instance).collect();
        ids.len() == workspaces
    }
}
