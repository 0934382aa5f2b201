//! Reads an exchange as a consumer does: an own queue, bound by a pattern, that goes with its connection.

use std::collections::BTreeMap;

use futures::StreamExt;
use lapin::Consumer;
use lapin::options::{
    BasicAckOptions, BasicConsumeOptions, BasicQosOptions, QueueBindOptions, QueueDeclareOptions,
};
use lapin::types::FieldTable;

use super::Timing;
use super::connect::{self, Fault, Wire};
use crate::config::{Broker, Tls};

/// Messages that may be on their way to a slow reader.
const AHEAD: u16 = 256;

/// A queue that is read.
#[derive(Debug)]
pub struct Tail {
    consumer: Consumer,
    _wire: Wire,
}

/// A message that arrived.
#[derive(Debug)]
pub struct Delivery {
    /// What it was published under.
    pub routing_key: String,
    /// Id that repeats share.
    pub message_id: String,
    /// Headers that are texts or numbers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

/// Binds a queue of its own to `exchange`, which must be there, by a pattern of routing keys.
///
/// # Errors
/// [`Fault`] where the broker cannot be reached or says no.
pub async fn open(
    broker: &Broker,
    tls: Option<&Tls>,
    exchange: &str,
    pattern: &str,
) -> Result<Tail, Fault> {
    let wire = connect::connect(broker, tls, "wsman client bus-tail", Timing::default()).await?;
    let channel = wire.connection.create_channel().await?;
    let own = QueueDeclareOptions {
        exclusive: true,
        auto_delete: true,
        ..QueueDeclareOptions::default()
    };
    let queue = channel
        .queue_declare("".into(), own, FieldTable::default())
        .await?;
    let (name, table) = (queue.name().clone(), FieldTable::default());
    channel
        .queue_bind(
            name.clone(),
            exchange.into(),
            pattern.into(),
            QueueBindOptions::default(),
            table.clone(),
        )
        .await?;
    channel.basic_qos(AHEAD, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consumer = channel
        .basic_consume(name, "".into(), options, table)
        .await?;
    Ok(Tail {
        consumer,
        _wire: wire,
    })
}

impl Tail {
    /// Waits for the next message.
    ///
    /// # Errors
    /// [`Fault`] when the connection ends.
    pub async fn next(&mut self) -> Result<Delivery, Fault> {
        let ended = || Fault::passing("the broker ended the subscription");
        let delivery = self.consumer.next().await.ok_or_else(ended)??;
        delivery.ack(BasicAckOptions::default()).await?;
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
        })
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
