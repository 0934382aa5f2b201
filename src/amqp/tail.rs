//! Reads the bus as a consumer does: from an exclusive queue, which is deleted with its connection, or from an existing
//! one.

use std::collections::BTreeMap;

use futures::StreamExt;

use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::{FieldTable, ShortString};
use lapin::{Acker, Channel, Consumer};

use super::Timing;
use super::connect::{self, Fault, Wire};
use crate::config::{Broker, Tls};

/// Prefetch count of a slow reader.
const AHEAD: u16 = 256;

/// Where messages come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// An exclusive queue.
    Exchange {
        /// The exchange of the binding, which must exist.
        name: String,
        /// The routing keys.
        pattern: String,
    },
    /// An existing queue: it keeps messages also without a reader.
    Queue(String),
}

/// A queue and its consumer.
#[derive(Debug)]
pub struct Tail {
    consumer: Consumer,
    _wire: Wire,
}

/// A message that arrived.
#[derive(Debug)]
pub struct Delivery {
    pub routing_key: String,
    /// Id that repeats share.
    pub message_id: String,
    /// Headers that are strings or numbers.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
    acker: Acker,
}

/// Connects under a name that the broker shows, and starts to consume.
///
/// # Errors
/// [`Fault`] if the broker cannot be reached or rejects it.
pub async fn open(
    broker: &Broker,
    tls: Option<&Tls>,
    name: &str,
    source: &Source,
) -> Result<Tail, Fault> {
    let timing = Timing::default();
    let wire = connect::connect(broker, tls, name, timing).await?;
    let reading = async {
        let channel = wire.connection.create_channel().await?;
        let queue = match source {
            Source::Exchange { name, pattern } => bind(&channel, name, pattern).await?,
            Source::Queue(name) => name.as_str().into(),
        };
        channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
        let (options, table) = (BasicConsumeOptions::default(), FieldTable::default());
        channel
            .basic_consume(queue, "".into(), options, table)
            .await
    };
    let begun = tokio::time::timeout(timing.connect, reading).await;
    let consumer = begun.map_err(|_| Fault::passing("the broker does not answer"))??;
    Ok(Tail {
        consumer,
        _wire: wire,
    })
}

/// Binds a new queue, which is deleted with its connection.
async fn bind(channel: &Channel, exchange: &str, pattern: &str) -> lapin::Result<ShortString> {
    let own = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare("".into(), own, FieldTable::default())
        .await?;
    let (name, options) = (queue.name().clone(), QueueBindOptions::default());
    let table = FieldTable::default();
    channel
        .queue_bind(
            name.clone(),
            exchange.into(),
            pattern.into(),
            options,
            table,
        )
        .await?;
    Ok(name)
}

impl Tail {
    /// Waits for the next message. Without an acknowledgement it is delivered again on another connection.
    ///
    /// # Errors
    /// [`Fault`] when the connection ends.
    pub async fn next(&mut self) -> Result<Delivery, Fault> {
        let ended = || Fault::passing("the broker ended the subscription");
        let delivery = self.consumer.next().await.ok_or_else(ended)??;
        let properties = &delivery.properties;
        let headers = properties.headers().iter().flat_map(|table| table.inner());
        Ok(Delivery {
            routing_key: delivery.routing_key.to_string(),
            message_id: properties
                .message_id()
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            headers: headers
                .filter_map(|(key, value)| Some((key.to_string(), text(value)?)))
                .collect(),
            body: delivery.data,
            acker: delivery.acker,
        })
    }
}

impl Delivery {
    /// Acknowledges the message.
    ///
    /// # Errors
    /// [`Fault`] when the connection has ended.
    pub async fn ack(&self) -> Result<(), Fault> {
        self.acker.ack(BasicAckOptions::default()).await?;
        Ok(())
    }
}

fn text(value: &lapin::types::AMQPValue) -> Option<String> {
    use lapin::types::AMQPValue::{Boolean, LongLongInt, LongString, ShortString};
    match value {
        LongString(text) => Some(text.to_string()),
        ShortString(text) => Some(text.to_string()),
        LongLongInt(number) => Some(number.to_string()),
        Boolean(flag) => Some(flag.to_string()),
        _ => None,
    }
}
