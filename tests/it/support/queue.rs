//! A consumer of the bus: a durable queue, the messages that arrived, and a check of the bus's guarantees.

use std::collections::{HashMap, HashSet};

use futures::StreamExt;
use lapin::options::*;
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties, ExchangeKind};

use super::world::TIMEOUT;

/// A message that arrived.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Arrived {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) instance: String,
    pub(crate) phase: String,
    pub(crate) version: i64,
    pub(crate) traceparent: Option<String>,
    pub(crate) jaeger: Option<String>,
    pub(crate) body: serde_json::Value,
}

/// A durable queue on an exchange.
pub(crate) struct Queue {
    url: String,
    name: String,
    /// Every message so far, in order.
    pub(crate) history: Vec<Arrived>,
}

/// Opens a channel on its own connection, as soon as the broker answers.
pub(crate) async fn channel(url: &str) -> (Connection, Channel) {
    let opening = async {
        loop {
            if let Ok(connection) = Connection::connect(url, ConnectionProperties::default()).await
                && let Ok(channel) = connection.create_channel().await
            {
                return (connection, channel);
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, opening)
        .await
        .expect("the broker answers")
}

/// Declares the exchange as wsman does.
pub(crate) async fn declare_exchange(channel: &Channel, kind: ExchangeKind) {
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    let declared = channel.exchange_declare("wsman".into(), kind, durable, FieldTable::default());
    declared.await.unwrap();
}

impl Queue {
    /// Declares a queue, bound by `pattern`.
    pub(crate) async fn bound(url: &str, name: &str, pattern: &str) -> Self {
        Self::with(url, name, pattern, FieldTable::default()).await
    }

    /// Declares a queue with arguments.
    pub(crate) async fn with(url: &str, name: &str, pattern: &str, arguments: FieldTable) -> Self {
        let (connection, channel) = channel(url).await;
        declare_exchange(&channel, ExchangeKind::Topic).await;
        let durable = QueueDeclareOptions {
            durable: true,
            ..Default::default()
        };
        channel
            .queue_declare(name.into(), durable, arguments)
            .await
            .unwrap();
        let queue = Self {
            url: url.to_owned(),
            name: name.to_owned(),
            history: Vec::new(),
        };
        queue.bind(&channel, pattern).await;
        connection.close(200, "".into()).await.unwrap();
        queue
    }

    /// Binds it (again).
    pub(crate) async fn bind(&self, channel: &Channel, pattern: &str) {
        let (options, none) = (QueueBindOptions::default(), FieldTable::default());
        let binding = channel.queue_bind(
            self.name.as_str().into(),
            "wsman".into(),
            pattern.into(),
            options,
            none,
        );
        binding.await.unwrap();
    }

    /// Reads until the history matches; reconnects if the broker was away.
    pub(crate) async fn until(&mut self, what: &str, is_done: impl Fn(&[Arrived]) -> bool) {
        let deadline = tokio::time::Instant::now() + TIMEOUT;
        while !is_done(&self.history) {
            let reading = tokio::time::timeout_at(deadline, self.read(&is_done)).await;
            assert!(reading.is_ok(), "{what}: {:#?}", self.received());
        }
    }

    async fn read(&mut self, is_done: &impl Fn(&[Arrived]) -> bool) {
        let (_connection, channel) = channel(&self.url).await;
        let (options, none) = (BasicConsumeOptions::default(), FieldTable::default());
        let consumer = channel
            .basic_consume(self.name.as_str().into(), "".into(), options, none)
            .await;
        let Ok(mut consumer) = consumer else {
            return;
        };
        while let Some(Ok(delivery)) = consumer.next().await {
            if delivery.ack(BasicAckOptions::default()).await.is_err() {
                return;
            }
            self.history.push(arrived(&delivery));
            if is_done(&self.history) {
                return;
            }
        }
    }

    /// Waits until a workspace is in a phase, and returns that message.
    pub(crate) async fn until_phase(&mut self, instance: &str, phase: &str) -> Arrived {
        let is_it = |m: &Arrived| m.instance == instance && m.phase == phase;
        let what = format!("{instance} is {phase} on the bus");
        self.until(&what, |history| history.iter().any(is_it)).await;
        self.history.iter().find(|m| is_it(m)).unwrap().clone()
    }

    /// Reads the messages that wait at this moment.
    pub(crate) async fn drain(&mut self) {
        let (connection, channel) = channel(&self.url).await;
        let options = BasicGetOptions { no_ack: true };
        while let Some(message) = channel
            .basic_get(self.name.as_str().into(), options)
            .await
            .unwrap()
        {
            self.history.push(arrived(&message.delivery));
        }
        connection.close(200, "".into()).await.unwrap();
    }

    /// Checks the guarantees of a consumer, and returns how many repeats there were.
    pub(crate) fn check(&self) -> usize {
        let mut seen = HashSet::new();
        let mut newest: HashMap<&str, i64> = HashMap::new();
        let mut repeats = 0;
        for message in &self.history {
            if !seen.insert(&message.id) {
                repeats += 1;
                continue;
            }
            let version = newest.entry(&message.instance).or_insert(-1);
            assert!(
                message.version > *version,
                "older after newer: {message:?} in {:#?}",
                self.received()
            );
            *version = message.version;
        }
        repeats
    }

    fn received(&self) -> Vec<String> {
        let received = self
            .history
            .iter()
            .map(|m| format!("{} {} {}", m.instance, m.phase, m.id));
        received.collect()
    }
}

fn arrived(delivery: &lapin::message::Delivery) -> Arrived {
    let properties = &delivery.properties;
    assert_eq!(*properties.delivery_mode(), Some(2), "persistent");
    assert_eq!(
        properties.content_type().as_ref().unwrap().as_str(),
        "application/json"
    );
    let headers = properties.headers().as_ref().unwrap().inner();
    let text = |key: &str| match &headers[key] {
        AMQPValue::LongString(text) => text.to_string(),
        other => panic!("{key} is {other:?}"),
    };
    let AMQPValue::LongLongInt(version) = headers["version"] else {
        panic!("no version in {headers:?}");
    };
    Arrived {
        id: properties.message_id().as_ref().unwrap().to_string(),
        key: delivery.routing_key.to_string(),
        instance: match headers.contains_key("sessionId") {
            true => text("sessionId"),
            false => text("instanceId"),
        },
        phase: text("phase"),
        traceparent: headers
            .contains_key("traceparent")
            .then(|| text("traceparent")),
        jaeger: headers
            .contains_key("uber-trace-id")
            .then(|| text("uber-trace-id")),
        version,
        body: serde_json::from_slice(&delivery.data).unwrap(),
    }
}
