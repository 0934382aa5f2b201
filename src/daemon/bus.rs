//! The publishers on the message bus: one for each noun, each with a connection of its own.

use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::admin::Page;
use crate::amqp::{Feed, Publisher, State};
use crate::leadership::Leadership;
use crate::readiness::{Component, Readiness};
use crate::tasks::Tasks;
use crate::updates::Update;

/// Name of the message bus among the components and the pages.
pub(super) const MESSAGE_BUS: &str = "messagebus";

/// Of which noun a publisher is.
pub(super) struct Of {
    /// The key under which the page has it; empty: at its top.
    pub(super) key: &'static str,
    /// Name of the component.
    pub(super) component: &'static str,
    /// Names of the tasks.
    pub(super) tasks: [&'static str; 2],
}

/// The publishers that run.
#[derive(Default)]
pub(super) struct Publishers {
    states: Vec<(&'static str, watch::Receiver<State>)>,
    ended: Vec<BoxFuture<'static, ()>>,
}

impl Publishers {
    /// Publishes the updates of a noun, as long as this replica leads.
    pub(super) fn start<U: Update>(
        &mut self,
        tasks: &mut Tasks,
        (of, readiness): (Of, &Readiness),
        publisher: Publisher,
        feed: Feed<U>,
        leadership: Leadership,
        flush: &CancellationToken,
    ) {
        let [publishing, following] = of.tasks;
        self.states.push((of.key, publisher.state()));
        self.ended.push(publisher.ended().boxed());
        let component = readiness.optional(of.component);
        tasks.spawn(following, follow(publisher.state(), component));
        tasks.spawn(publishing, publisher.run(feed, leadership, flush.clone()));
    }

    /// Returns the page with their states; it has no content without publishers.
    pub(super) fn page(&self) -> Page {
        let states = self.states.clone();
        Page::new(MESSAGE_BUS, move || {
            let mut page = Value::Null;
            for (key, state) in &states {
                let state = json!(*state.borrow());
                match key.is_empty() {
                    true => page = state,
                    false => page[*key] = state,
                }
            }
            (!page.is_null()).then(|| page.to_string())
        })
    }

    /// Waits until all of them have ended.
    pub(super) async fn flushed(self) {
        join_all(self.ended).await;
    }
}

/// Reports whether the broker takes the updates.
async fn follow(mut bus: watch::Receiver<State>, component: Component) -> anyhow::Result<()> {
    loop {
        let state = bus.borrow_and_update().clone();
        match state.is_well() {
            true => component.ready(),
            false => {
                let why = state.blocked.or(state.fault);
                component.not_ready(why.unwrap_or_else(|| "is not connected".to_owned()));
            }
        }
        if bus.changed().await.is_err() {
            // The publisher ended with the daemon.
            return std::future::pending().await;
        }
    }
}
