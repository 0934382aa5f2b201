//! Feeds the hub of a noun from the API server: its pods, their Services and warnings, and the nodes they run on.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::act::Actor;
use super::informer::{self, Event, Selection};
use crate::error::Error;
use crate::hub::Hub;
use crate::index::input::{Input, Source};
use crate::index::noun::Noun;
use crate::index::{Index, only_strayed};
use crate::objects::{self, Node, Pod, Service};
use crate::readiness::{Component, Readiness};
use crate::tasks::Tasks;

/// Without a word from the API server for this long, what the index holds is not served as current (F-R1).
const STALE_AFTER: Duration = Duration::from_secs(60);
/// Bound on reading one pod again.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Pods that wait to be read again; more than these are picked up by their next change.
const REREADS: usize = 1024;

/// Which objects are a noun's, as label selectors.
#[derive(Debug, Clone)]
pub struct Selectors {
    /// Its pods.
    pub pods: String,
    /// Its pods that lost the label by which the others are found.
    pub strays: String,
    /// Its Services.
    pub services: String,
    /// Without the right to Services nothing is missing.
    pub optional_services: bool,
    /// Reports whether nodes can be followed.
    pub nodes: Component,
    /// Turns true when all else is known that answers and decisions depend on.
    pub gate: watch::Receiver<bool>,
}

/// Starts everything that keeps the hub current. It is served from once its pods are listed and the gate is open.
pub fn spawn<N: Noun>(
    tasks: &mut Tasks,
    client: &Client,
    namespace: &str,
    hub: &Hub<N>,
    actor: &Actor,
    readiness: &Readiness,
    selectors: Selectors,
) {
    let (alive, received) = watch::channel(());
    let (reread, rereads) = mpsc::channel(REREADS);
    let feed = Feed {
        client: client.clone(),
        namespace: namespace.to_owned(),
        hub: hub.clone(),
        readiness: readiness.clone(),
        reread,
        gate: selectors.gate,
    };
    tasks.spawn(
        "watch pods",
        endless(pods(feed.clone(), selectors.pods, alive)),
    );
    tasks.spawn(
        "watch strays",
        endless(strays(feed.clone(), selectors.strays)),
    );
    tasks.spawn(
        "watch services",
        endless(services(
            feed.clone(),
            selectors.services,
            selectors.optional_services,
        )),
    );
    tasks.spawn("watch nodes", endless(nodes(feed.clone(), selectors.nodes)));
    tasks.spawn("watch events", endless(warnings(feed.clone())));
    tasks.spawn("open the gate", follow_gate(feed));
    tasks.spawn("read pods again", read_again(actor.clone(), rereads));
    tasks.spawn("staleness", staleness(hub.clone(), received));
}

/// Where events come from and go to.
struct Feed<N: Noun> {
    client: Client,
    namespace: String,
    hub: Hub<N>,
    readiness: Readiness,
    reread: mpsc::Sender<Arc<str>>,
    gate: watch::Receiver<bool>,
}

impl<N: Noun> Clone for Feed<N> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            namespace: self.namespace.clone(),
            hub: self.hub.clone(),
            readiness: self.readiness.clone(),
            reread: self.reread.clone(),
            gate: self.gate.clone(),
        }
    }
}

impl<N: Noun> Feed<N> {
    fn selection(
        &self,
        component: &'static str,
        kind: &'static str,
        labels: String,
        fields: &str,
    ) -> Selection {
        let component = self.readiness.component(component);
        Selection {
            labels,
            fields: fields.to_owned(),
            ..Selection::namespaced(kind, &self.namespace, component)
        }
    }

    fn take(&self, input: Input<'_>) {
        for pod in self.hub.take(input) {
            // A full queue only delays what the pod's next change brings anyway.
            let _ = self.reread.try_send(pod);
        }
    }

    /// Puts the index into service once everything is known that answers and decisions depend on.
    fn check_synced(&self) {
        if *self.gate.borrow() && self.hub.read(Index::is_listed) {
            self.hub.set_synced(true);
        }
    }
}

async fn endless(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Ok(())
}

async fn follow_gate<N: Noun>(mut feed: Feed<N>) -> anyhow::Result<()> {
    if feed.gate.wait_for(|open| *open).await.is_ok() {
        feed.check_synced();
    }
    std::future::pending().await
}

async fn pods<N: Noun>(feed: Feed<N>, labels: String, alive: watch::Sender<()>) {
    let selection = feed.selection("pods", "pods", labels, "");
    informer::follow(feed.client.clone(), selection, |event: Event<Pod>| {
        match event {
            Event::Item(pod) => feed.take(Input::Pod(Source::List, &pod)),
            Event::Apply(pod) => feed.take(Input::Pod(Source::Watch, &pod)),
            Event::Delete(pod) if only_strayed(&pod) => {}
            Event::Delete(pod) => feed.take(Input::PodGone(&pod)),
            Event::Listed { names, version } => {
                feed.take(Input::PodsListed(&names, version));
                feed.check_synced();
            }
            Event::Alive => {}
        }
        alive.send_replace(());
    })
    .await;
}

/// Follows the pods that lost the label by which the others are found.
async fn strays<N: Noun>(feed: Feed<N>, labels: String) {
    let selection = feed.selection("strays", "pods", labels, "");
    informer::follow(
        feed.client.clone(),
        selection,
        |event: Event<Pod>| match event {
            Event::Item(pod) | Event::Apply(pod) => feed.take(Input::Stray(&pod)),
            Event::Delete(pod) => feed.take(Input::StrayGone(&pod)),
            Event::Listed { names, .. } => feed.take(Input::StraysListed(&names)),
            Event::Alive => {}
        },
    )
    .await;
}

/// Without Services in the configuration there may be no right to them.
async fn services<N: Noun>(feed: Feed<N>, labels: String, optional: bool) {
    // There are two to a pod: listed at the same time they would double the wait for the first answer.
    let mut synced = feed.hub.synced();
    let _ = synced.wait_for(|synced| *synced).await;
    let mut selection = feed.selection("services", "services", labels, "");
    if optional {
        selection.component.ready();
        selection.component = Component::optional("services");
    }
    informer::follow(
        feed.client.clone(),
        selection,
        |event: Event<Service>| match event {
            Event::Item(service) | Event::Apply(service) => feed.take(Input::Service(service)),
            Event::Delete(service) => feed.take(Input::ServiceGone(service)),
            Event::Listed { names, .. } => feed.take(Input::ServicesListed(&names)),
            Event::Alive => {}
        },
    )
    .await;
}

/// Where RBAC forbids nodes this never lists, and every node stays unknown (docs/protocol.md#lifecycle).
async fn nodes<N: Noun>(feed: Feed<N>, component: Component) {
    let selection = Selection {
        kind: "nodes",
        path: "/api/v1/nodes".to_owned(),
        labels: String::new(),
        fields: String::new(),
        component,
    };
    informer::follow(
        feed.client.clone(),
        selection,
        |event: Event<Node>| match event {
            Event::Item(node) | Event::Apply(node) => feed.take(Input::Node(node)),
            Event::Delete(node) => feed.take(Input::NodeGone(node)),
            Event::Listed { names, version } => feed.take(Input::NodesListed(&names, version)),
            Event::Alive => {}
        },
    )
    .await;
}

async fn warnings<N: Noun>(feed: Feed<N>) {
    let selection = feed.selection(
        "events",
        "events",
        String::new(),
        "involvedObject.kind=Pod,type=Warning",
    );
    informer::follow(
        feed.client.clone(),
        selection,
        |event: Event<objects::Event>| match event {
            Event::Item(event) | Event::Apply(event) => feed.take(Input::Event(event)),
            Event::Delete(event) => feed.take(Input::EventGone(&event)),
            Event::Listed { names, version } => feed.take(Input::EventsListed(&names, version)),
            Event::Alive => {}
        },
    )
    .await;
}

/// The index keeps no whole pods: one that may have changed with a node or a warning is read again.
async fn read_again(actor: Actor, mut pods: mpsc::Receiver<Arc<str>>) -> anyhow::Result<()> {
    while let Some(pod) = pods.recv().await {
        let deadline = tokio::time::Instant::now() + READ_LIMIT;
        match actor.read_pod(&pod, deadline).await {
            Ok(_) => {}
            // Logged once for all, where requests are sent.
            Err(error @ Error::Unreachable { .. }) => {
                debug!(%pod, %error, "cannot read the pod again");
            }
            Err(error) => warn!(%pod, %error, "cannot read the pod again"),
        }
    }
    Ok(())
}

/// Takes the index out of service while the API server sends nothing.
async fn staleness<N: Noun>(hub: Hub<N>, mut received: watch::Receiver<()>) -> anyhow::Result<()> {
    let synced = hub.synced();
    let mut ever = false;
    loop {
        ever |= *synced.borrow();
        match tokio::time::timeout(STALE_AFTER, received.changed()).await {
            Ok(Ok(())) if ever && !*synced.borrow() => {
                info!("the API server is back");
                hub.set_synced(true);
            }
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) if ever && *synced.borrow() => {
                warn!(after = ?STALE_AFTER, "the API server sends nothing: not ready");
                hub.set_synced(false);
            }
            Err(_) => {}
        }
    }
}
