//! How many updates a second a local RabbitMQ confirms, beside a bare publisher with the same window, size and
//! persistence.

use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use lapin::options::*;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wsman::amqp::{Publisher, State, Timing};
use wsman::clock::Clock;
use wsman::config::{Broker, MessageBus};
use wsman::daemon::workspaces;
use wsman::duration::GoDuration;
use wsman::hub::Hub;
use wsman::index::{Changes, Index};
use wsman::leadership::Leadership;
use wsman::lease::LeaseState;
use wsman::outbox::message::BusMessage;
use wsman::proto::encoded::Encoded;
use wsman::proto::wsman::*;
use wsman::workspaces::bus_message;
use wsman::workspaces::entry::Workspace;
use wsman::workspaces::update::StatusUpdate;

use super::process::started;
use super::{figure, rabbit};

const WINDOW: u32 = 128;

/// A publisher of a hub, a broker, and a queue that takes everything.
struct Rig {
    hub: Hub<Workspace>,
    state: watch::Receiver<State>,
    channel: Channel,
    _connection: Connection,
    _lease_state: watch::Sender<LeaseState>,
}

impl Rig {
    /// `None` without RabbitMQ.
    async fn new(vhost: &str) -> Option<Self> {
        let node = rabbit::shared("bus").await?;
        let url = node.vhost(vhost, "bench").await;
        let connection = Connection::connect(&url, ConnectionProperties::default());
        let connection = connection.await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        let bus = MessageBus {
            broker: Broker::Url(url),
            exchange: "wsman".to_owned(),
            tls: None,
            confirm_timeout: GoDuration::from_secs(30),
            window: WINDOW,
            stopped_timeout: GoDuration::from_secs(300),
        };
        let hub = Hub::new(Index::default());
        let (publisher, mut state) = Publisher::new(bus, Timing::default());
        let (sender, lease_state) = watch::channel(LeaseState::Leader {
            until: Duration::from_secs(86_400),
        });
        let leadership = Leadership::new(lease_state, Clock::system());
        tokio::spawn(publisher.run(workspaces::feed(&hub), leadership, CancellationToken::new()));
        state.wait_for(|state| state.is_connected).await.unwrap();
        let none = FieldTable::default();
        let durable = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .queue_declare("all".into(), durable, none.clone())
            .await
            .unwrap();
        let options = QueueBindOptions::default();
        let all = channel.queue_bind("all".into(), "wsman".into(), "#".into(), options, none);
        all.await.unwrap();
        Some(Self {
            hub,
            state,
            channel,
            _connection: connection,
            _lease_state: sender,
        })
    }

    fn publish(&self, updates: Vec<StatusUpdate>) {
        self.hub.change(|_| Changes {
            updates: updates.into_iter().map(Into::into).collect(),
            ..Changes::default()
        });
    }
}

/// Updates of `count` workspaces, published and confirmed, alternately.
pub(crate) async fn confirmed(count: usize) {
    let Some(mut rig) = Rig::new("flood").await else {
        return;
    };
    let (mut ours, mut floor) = (Duration::ZERO, Duration::ZERO);
    let size = bus_message::of(&update(0, 1)).body.len();
    for round in 1..=3 {
        let updates: Vec<_> = (0..count).map(|n| update(n, round)).collect();
        let messages: Vec<_> = updates.iter().map(bus_message::of).collect();
        let goal = rig.state.borrow().confirmed + count as u64;
        let begun = Instant::now();
        for chunk in updates.chunks(64) {
            rig.publish(chunk.to_vec());
            tokio::task::yield_now().await;
        }
        let all = rig.state.wait_for(|state| state.confirmed >= goal);
        drop(all.await.unwrap());
        ours += begun.elapsed();
        purge(&rig.channel).await;
        floor += bare(&rig.channel, messages).await;
        purge(&rig.channel).await;
    }
    let rate = |time: Duration| format!("{:.0}/s", (3 * count) as f64 / time.as_secs_f64());
    let name = format!("confirmed messages of {size} B, window {WINDOW} (floor: bare lapin)");
    figure(&name, &rate(ours), &rate(floor));
}

/// 2,000 updates a second of 500 workspaces for a minute: the most that waited, and how many were merged.
pub(crate) async fn steady() {
    const RATE: u64 = 2000;
    const TIME: Duration = Duration::from_secs(60);
    const WORKSPACES: u64 = 500;
    const EVERY: Duration = Duration::from_millis(10);
    let Some(rig) = Rig::new("steady").await else {
        return;
    };
    let each = RATE * EVERY.as_millis() as u64 / 1000;
    let mut ticks = tokio::time::interval(EVERY);
    let (begun, mut published, mut most) = (Instant::now(), 0, 0);
    while begun.elapsed() < TIME {
        ticks.tick().await;
        let next = published..published + each;
        let updates = next.map(|n| update((n % WORKSPACES) as usize, 1 + n));
        rig.publish(updates.collect());
        published += each;
        let state = rig.state.borrow();
        most = most.max(state.waiting + state.unconfirmed);
    }
    // The last updates are in the outbox by then.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut state = rig.state.clone();
    let empty = state.wait_for(|state| state.waiting + state.unconfirmed == 0);
    let confirmed = empty.await.unwrap().confirmed;
    let stored = u64::from(purge(&rig.channel).await);
    assert_eq!(stored, confirmed, "in the queue is what was confirmed");
    let name = format!("{RATE} updates/s for {TIME:?}: confirmed (floor: published)");
    figure(&name, &confirmed.to_string(), &published.to_string());
    figure("  most that waited at a time", &most.to_string(), "-");
}

fn update(n: usize, version: u64) -> StatusUpdate {
    let request = started(&format!("bus-{n}"));
    let status = WorkspaceStatus {
        id: request.id.clone(),
        status_version: version,
        phase: WorkspacePhase::Running.into(),
        metadata: request.metadata,
        spec: Some(WorkspaceSpec {
            workspace_image: "registry.example.com/workspace:1".to_owned(),
            url: format!("https://{}.example.com", request.id),
            timeout: "30m".to_owned(),
            class: "default".to_owned(),
            ..Default::default()
        }),
        conditions: Some(WorkspaceConditions::default()),
        runtime: Some(WorkspaceRuntimeInfo {
            node_name: "node-1".to_owned(),
            pod_name: format!("ws-{}", request.id),
            node_ip: "10.0.0.1".to_owned(),
        }),
        auth: Some(WorkspaceAuthentication {
            owner_token: "o".repeat(32),
            ..Default::default()
        }),
        ..Default::default()
    };
    StatusUpdate::new(&format!("uid-{n}"), Encoded::new(status))
}

async fn bare(channel: &Channel, messages: Vec<BusMessage>) -> Duration {
    let begun = Instant::now();
    let send = |message: BusMessage| {
        let channel = channel.clone();
        async move {
            let options = BasicPublishOptions {
                mandatory: true,
                ..Default::default()
            };
            let properties = BasicProperties::default()
                .with_delivery_mode(2)
                .with_message_id(message.id.as_str().into());
            let key = message.routing_key.as_str().into();
            let sent =
                channel.basic_publish("wsman".into(), key, options, &message.body, properties);
            assert!(sent.await.unwrap().await.unwrap().is_ack());
        }
    };
    let mut messages = messages.into_iter();
    let mut under_way: FuturesUnordered<_> =
        messages.by_ref().take(WINDOW as usize).map(send).collect();
    while under_way.next().await.is_some() {
        under_way.extend(messages.next().map(send));
    }
    begun.elapsed()
}

/// Returns how many messages were in the queue.
async fn purge(channel: &Channel) -> u32 {
    channel
        .queue_purge("all".into(), QueuePurgeOptions::default())
        .await
        .unwrap()
}
