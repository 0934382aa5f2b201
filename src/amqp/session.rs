//! One open connection: a channel with publisher confirms, and a declared exchange.

use futures::StreamExt;
use futures::stream::BoxStream;
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{BasicProperties, Channel, Confirmation, ErrorKind, Event, ExchangeKind};

use super::Timing;
use super::connect::{self, Fault, Wire};
use crate::config::MessageBus;
use crate::outbox::message::{BusMessage, Header};

/// AMQP's delivery mode of persistent messages.
const PERSISTENT: u8 = 2;

/// The broker's answer to a message. A returned message is identified by its own id: lapin attaches it to the next
/// confirm, whichever that is.
#[derive(Debug)]
pub(super) enum Answer {
    /// Every bound queue stored it.
    Confirmed {
        /// Id of a message that reached no queue.
        returned: Option<String>,
    },
    /// Not every bound queue stored it.
    Refused {
        /// See above.
        returned: Option<String>,
    },
}

/// A notification of the broker.
#[derive(Debug)]
pub(super) enum Notice {
    /// It blocks the connection for now.
    Blocked(String),
    /// It accepts messages again.
    Unblocked,
    Gone(Fault),
}

/// A channel in confirm mode.
pub(super) struct Session {
    pub(super) wire: Wire,
    channel: Channel,
    exchange: ShortString,
    events: BoxStream<'static, Event>,
    /// The session id in the messages.
    id: String,
}

impl Session {
    /// Connects, declares the exchange and enables confirms.
    pub(super) async fn open(bus: &MessageBus, timing: Timing) -> Result<Self, Fault> {
        let wire = connect::connect(&bus.broker, bus.tls.as_ref(), "wsman", timing).await?;
        let events = wire.connection.events_listener().boxed();
        let setting_up = async {
            let exchange = ShortString::from(bus.exchange.as_str());
            let channel = declare(&wire, &exchange).await?;
            channel
                .confirm_select(ConfirmSelectOptions::default())
                .await?;
            Ok::<_, lapin::Error>((channel, exchange))
        };
        let set_up = tokio::time::timeout(timing.connect, setting_up).await;
        let (channel, exchange) = match set_up {
            Ok(set_up) => set_up?,
            Err(_) => return Err(Fault::passing("the broker does not answer")),
        };
        Ok(Self {
            wire,
            channel,
            exchange,
            events,
            id: format!("{:016x}", getrandom::u64().unwrap_or_default()),
        })
    }

    /// Publishes a message and waits for its confirm, without a timeout.
    pub(super) fn publish(
        &self,
        message: BusMessage,
    ) -> impl Future<Output = Result<Answer, Fault>> + Send + 'static {
        let (channel, exchange) = (self.channel.clone(), self.exchange.clone());
        let properties = properties(&message, &self.id);
        async move {
            let options = BasicPublishOptions {
                mandatory: true,
                ..BasicPublishOptions::default()
            };
            let key = ShortString::from(message.routing_key.as_str());
            let body = message.body.as_slice();
            let sent = channel.basic_publish(exchange, key, options, body, properties);
            match sent.await?.await? {
                Confirmation::Ack(returned) => Ok(Answer::Confirmed {
                    returned: returned.map(id_of),
                }),
                Confirmation::Nack(returned) => Ok(Answer::Refused {
                    returned: returned.map(id_of),
                }),
                Confirmation::NotRequested => Err(Fault::passing("the channel gives no confirms")),
            }
        }
    }

    /// Waits for a notification of the broker.
    pub(super) async fn notice(&mut self) -> Notice {
        loop {
            match self.events.next().await {
                Some(Event::ConnectionBlocked(why)) => return Notice::Blocked(why),
                Some(Event::ConnectionUnblocked) => return Notice::Unblocked,
                // The end of a channel: its publisher gets the error, and the channel that may not declare is
                // dropped.
                Some(Event::Error(error)) if error.is_amqp_soft_error() => {}
                Some(Event::Error(error)) => return Notice::Gone(error.into()),
                Some(_) => {}
                None => return Notice::Gone(Fault::passing("the connection ended")),
            }
        }
    }
}

/// Declares the exchange. It fails if an exchange of this name has other properties. Without the permission to declare,
/// the existing exchange is used.
async fn declare(wire: &Wire, exchange: &ShortString) -> lapin::Result<Channel> {
    let channel = wire.connection.create_channel().await?;
    let options = ExchangeDeclareOptions {
        durable: true,
        ..ExchangeDeclareOptions::default()
    };
    let declare = |channel: Channel, options| async move {
        let name = exchange.clone();
        let kind = ExchangeKind::Topic;
        let declared = channel.exchange_declare(name, kind, options, FieldTable::default());
        declared.await.map(|()| channel)
    };
    match declare(channel, options).await {
        Err(error) if is_forbidden(&error) => {
            let channel = wire.connection.create_channel().await?;
            let passive = ExchangeDeclareOptions {
                passive: true,
                ..options
            };
            declare(channel, passive).await
        }
        declared => declared,
    }
}

fn is_forbidden(error: &lapin::Error) -> bool {
    let forbidden = AMQPErrorKind::Soft(AMQPSoftError::ACCESSREFUSED);
    matches!(error.kind(), ErrorKind::ProtocolError(said) if *said.kind() == forbidden)
}

/// The session id shows consumers which messages are repeats: within a session no message is published twice.
fn properties(message: &BusMessage, session: &str) -> BasicProperties {
    let mut headers = FieldTable::default();
    let text = |text: &str| AMQPValue::LongString(text.into());
    for (name, value) in &message.headers {
        let value = match value {
            Header::Text(value) => text(value),
            Header::Number(value) => {
                AMQPValue::LongLongInt(i64::try_from(*value).unwrap_or(i64::MAX))
            }
        };
        headers.insert((*name).into(), value);
    }
    headers.insert("session".into(), text(session));
    if message.is_reduced {
        headers.insert("reduced".into(), AMQPValue::Boolean(true));
    }
    BasicProperties::default()
        .with_message_id(message.id.as_str().into())
        .with_content_type("application/json".into())
        .with_type(message.kind.into())
        .with_app_id("wsman".into())
        .with_delivery_mode(PERSISTENT)
        .with_headers(headers)
}

fn id_of(returned: BasicReturnMessage) -> String {
    let id = returned.delivery.properties.message_id().as_ref();
    id.map(ToString::to_string).unwrap_or_default()
}
