//! The consumer of the message bus: a queue that is read again whenever its connection ends.

use std::convert::Infallible;

use super::consume::Consumer;
use crate::amqp::connect::Fault;
use crate::amqp::tail::{self, Delivery, Source, Tail};
use crate::cli::client::follow::{LONGEST_PAUSE, backoff};
use crate::cli::exit::note;
use crate::config::{Broker, Tls};
use crate::history::{Begin, Channel, Saw, State};
use crate::proto::wsman::WorkspaceStatus;

/// A consumer of the bus of one deployment.
#[derive(Debug, Clone)]
pub struct Reader {
    /// Where the broker is.
    pub broker: Broker,
    /// How to trust it.
    pub tls: Option<Tls>,
    /// What is read.
    pub source: Source,
    /// Its name in the history, and who lists what a queue of its own cannot hold: what was told before.
    pub lister: Consumer,
}

impl Reader {
    /// Connects and begins to read.
    ///
    /// # Errors
    /// [`Fault`] where the broker cannot be reached or says no.
    pub async fn open(&self) -> Result<Tail, Fault> {
        tail::open(
            &self.broker,
            self.tls.as_ref(),
            "wsman verify",
            &self.source,
        )
        .await
    }

    /// Records what arrives, for ever: a broker that is away is no violation.
    pub async fn follow(self, first: Tail) -> Infallible {
        let (mut opened, mut again) = (Ok(first), false);
        let mut pauses = backoff();
        loop {
            if let Ok(tail) = opened {
                let Err(fault) = self.read(tail, again).await;
                self.record(Saw::Ended { why: fault.why });
                again = true;
                pauses = backoff();
            }
            tokio::time::sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
            opened = self.open().await;
        }
    }

    /// Reads until the connection ends. A queue of its own is a new one, so that what came meanwhile is lost to it.
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
            // One that fails leaves fewer workspaces to be held against what arrives.
            let _ = self.lister.list().await;
        }
        loop {
            let delivery = tail.next().await?;
            match state(&delivery) {
                Ok(state) => self.record(Saw::Told(state)),
                Err(why) => note(&format!("a message on the bus is no status: {why}")),
            }
            delivery.ack().await?;
        }
    }

    fn record(&self, saw: Saw) {
        self.lister.recorder.record(&self.lister.who, saw);
    }
}

/// What the rules need of a message.
fn state(delivery: &Delivery) -> Result<State, serde_json::Error> {
    let status: WorkspaceStatus = serde_json::from_slice(&delivery.body)?;
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let header = |name: &str| delivery.headers.get(name);
    let mut state = State::of(&status);
    state.message_id = text(&delivery.message_id);
    state.session = header("session").cloned();
    if header("reduced").is_some() {
        // It only refers to the status.
        state.content.clear();
    }
    Ok(state)
}
