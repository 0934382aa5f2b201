//! The consumer of the message bus: its queue is opened again after every lost connection.

use std::convert::Infallible;

use super::consume::Consumer;
use crate::amqp::connect::Fault;
use crate::amqp::tail::{self, Delivery, Source, Tail};
use crate::cli::client::follow::BACKOFF;
use crate::cli::exit::note;
use crate::config::{Broker, Tls};
use crate::history::{Begin, Channel, Saw, State};
use crate::proto::wsman::WorkspaceStatus;

/// A consumer of one deployment's bus.
#[derive(Debug, Clone)]
pub struct Reader {
    pub broker: Broker,
    /// The certificates of the broker.
    pub tls: Option<Tls>,
    /// Where messages come from.
    pub source: Source,
    /// Its name in the history, and the list of what an exclusive queue misses: earlier updates.
    pub lister: Consumer,
}

impl Reader {
    /// Connects and starts to consume.
    ///
    /// # Errors
    /// [`Fault`] if the broker cannot be reached or rejects it.
    pub async fn open(&self) -> Result<Tail, Fault> {
        tail::open(
            &self.broker,
            self.tls.as_ref(),
            "wsman verify",
            &self.source,
        )
        .await
    }

    /// Records messages for ever: a broker outage is no violation.
    pub async fn follow(self, first: Tail) -> Infallible {
        let (mut opened, mut again) = (Ok(first), false);
        let mut failures = 0;
        loop {
            if let Ok(tail) = opened {
                let Err(fault) = self.read(tail, again).await;
                self.record(Saw::Ended { why: fault.why });
                again = true;
                failures = 0;
            }
            tokio::time::sleep(BACKOFF.jittered(failures)).await;
            failures += 1;
            opened = self.open().await;
        }
    }

    /// Reads until the connection ends. An exclusive queue is new after that, so it misses the messages in between.
    async fn read(&self, mut tail: Tail, again: bool) -> Result<Infallible, Fault> {
        self.record(Saw::Opening(Begin {
            server: self.lister.server.clone(),
            filter: self.lister.filter.clone(),
            resumes: false,
            channel: Channel::Bus,
        }));
        self.record(Saw::Opened {});
        if matches!(self.source, Source::Exchange { .. }) {
            if again {
                self.record(Saw::Reset {});
            }
            // After a failed list, fewer workspaces are checked.
            let _ = self.lister.list().await;
        }
        loop {
            let delivery = tail.next().await?;
            match state(&delivery) {
                Ok(state) => self.record(Saw::Update(state)),
                Err(why) => note(&format!("a message on the bus is no status: {why}")),
            }
            delivery.ack().await?;
        }
    }

    fn record(&self, saw: Saw) {
        self.lister.recorder.record(&self.lister.who, saw);
    }
}

/// The fields of a message that the rules use.
fn state(delivery: &Delivery) -> Result<State, serde_json::Error> {
    let status: WorkspaceStatus = serde_json::from_slice(&delivery.body)?;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let header = |name: &str| delivery.headers.get(name);
    let mut state = State::of(&status);
    state.message_id = text(&delivery.message_id);
    state.session = header("session").cloned();
    if header("reduced").is_some() {
        // A reduced message has no status.
        state.content.clear();
    }
    Ok(state)
}
