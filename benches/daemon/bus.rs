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
use wsman::amqp::{Publisher, Timing};
use wsman::clock::Clock;
use wsman::config::{Broker, MessageBus};
use wsman::duration::GoDuration;
use wsman::hub::Hub;
use wsman::index::{Changes, Index, Update};
use wsman::lease::Standing;
use wsman::outbox::message::Message;
use wsman::proto::encoded::Encoded;
use wsman::proto::wsman::*;
use wsman::tenure::Tenure;

use super::process::started;
use super::{figure, rabbit};

const WINDOW: u32 = 128;

/// Updates of `count` workspaces, published and confirmed, in turns.
pub(crate) async fn confirmed(count: usize) {
    let Some(node) = rabbit::shared("bus").await else {
        return;
    };
    let url = node.vhost("bench", "bench").await;
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
    let (_standing, standing) = watch::channel(Standing::Holds {
        until: Duration::from_secs(86_400),
    });
    let tenure = Tenure::new(standing, Clock::system());
    tokio::spawn(publisher.run(hub.clone(), tenure, CancellationToken::new()));
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
    let all = channel.queue_bind(
        "all".into(),
        "wsman".into(),
        "#".into(),
        QueueBindOptions::default(),
        none,
    );
    all.await.unwrap();

    let (mut ours, mut floor) = (Duration::ZERO, Duration::ZERO);
    let size = Message::new(&update(0, 1)).body.len();
    for round in 1..=3 {
        let updates: Vec<_> = (0..count).map(|n| update(n, round)).collect();
        let messages: Vec<_> = updates.iter().map(Message::new).collect();
        let goal = state.borrow().confirmed + count as u64;
        let begun = Instant::now();
        for chunk in updates.chunks(64) {
            let updates = chunk.to_vec();
            hub.change(|_| Changes {
                updates,
                ..Changes::default()
            });
            tokio::task::yield_now().await;
        }
        state
            .wait_for(|state| state.confirmed >= goal)
            .await
            .unwrap();
        ours += begun.elapsed();
        purge(&channel).await;
        floor += bare(&channel, messages).await;
        purge(&channel).await;
    }
    let rate = |time: Duration| format!("{:.0}/s", (3 * count) as f64 / time.as_secs_f64());
    let name = format!("confirmed messages of {size} B, window {WINDOW} (floor: bare lapin)");
    figure(&name, &rate(ours), &rate(floor));
}

fn update(n: usize, version: u64) -> Update {
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
    Update::new(&format!("uid-{n}"), Encoded::new(status))
}

async fn bare(channel: &Channel, messages: Vec<Message>) -> Duration {
    let begun = Instant::now();
    let send = |message: Message| {
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

async fn purge(channel: &Channel) {
    channel
        .queue_purge("all".into(), QueuePurgeOptions::default())
        .await
        .unwrap();
}
