//! Feeds the hub from the API server: workspace pods, their Services, warnings and records, and the nodes they run on;
//! and follows the ConfigMap that switches maintenance.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};

use super::act::Actor;
use super::informer::{self, Event, Selection};
use crate::error::Error;
use crate::hub::Hub;
use crate::index::Index;
use crate::index::input::{Input, Source};
use crate::objects::{self, ConfigMap, Node, Pod, Service};
use crate::readiness::{Component, Readiness};
use crate::tasks::Tasks;
use crate::workspaces::maintenance::{self, Switch};
use crate::workspaces::marks::{RECREATE, label};

/// Without a word from the API server for this long, what the index holds is not served as current (F-R1).
const STALE_AFTER: Duration = Duration::from_secs(60);
/// Bound on reading one pod again.
const READ_LIMIT: Duration = Duration::from_secs(10);
/// Pause before a look for a lost workspace is tried again.
const PAUSE: Duration = Duration::from_secs(1);
/// Pods that wait to be read again; more than these are picked up by their next change.
const REREADS: usize = 1024;

/// Starts everything that keeps the hub current. Returns what the ConfigMap says about maintenance.
pub fn spawn(
    tasks: &mut Tasks,
    client: &Client,
    namespace: &str,
    hub: &Hub,
    actor: &Actor,
    readiness: &Readiness,
    needs_services: bool,
) -> watch::Receiver<Switch> {
    let (alive, heard) = watch::channel(());
    let (reread, rereads) = mpsc::channel(REREADS);
    let (switch, switched) = watch::channel(Switch::Unknown);
    let feed = Feed {
        client: client.clone(),
        namespace: namespace.to_owned(),
        hub: hub.clone(),
        readiness: readiness.clone(),
        reread: reread.clone(),
        switched: switched.clone(),
    };
    tasks.spawn("watch pods", endless(pods(feed.clone(), alive)));
    tasks.spawn("watch strays", endless(strays(feed.clone())));
    tasks.spawn("watch records", endless(records(feed.clone())));
    tasks.spawn(
        "watch maintenance",
        endless(maintenance(feed.clone(), switch)),
    );
    tasks.spawn(
        "watch services",
        endless(services(feed.clone(), needs_services)),
    );
    tasks.spawn("watch nodes", endless(nodes(feed.clone())));
    tasks.spawn("watch events", endless(warnings(feed)));
    tasks.spawn(
        "read pods again",
        read_again(actor.clone(), reread, rereads),
    );
    tasks.spawn("staleness", staleness(hub.clone(), heard));
    switched
}

/// Where events come from and go to.
#[derive(Clone)]
struct Feed {
    client: Client,
    namespace: String,
    hub: Hub,
    readiness: Readiness,
    reread: mpsc::Sender<Arc<str>>,
    switched: watch::Receiver<Switch>,
}

impl Feed {
    fn selection(
        &self,
        component: &'static str,
        kind: &'static str,
        labels: String,
        fields: &str,
    ) -> Selection {
        let path = format!("/api/v1/namespaces/{}/{kind}", self.namespace);
        Selection {
            kind,
            path,
            labels,
            fields: fields.to_owned(),
            component: self.readiness.component(component),
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
        let known = *self.switched.borrow() != Switch::Unknown;
        if known && self.hub.read(Index::is_listed) {
            self.hub.set_synced(true);
        }
    }
}

async fn endless(task: impl Future<Output = ()>) -> anyhow::Result<()> {
    task.await;
    Ok(())
}

async fn pods(feed: Feed, alive: watch::Sender<()>) {
    let selection = feed.selection("pods", "pods", format!("{}=true", label::MARKER), "");
    informer::follow(feed.client.clone(), selection, |event: Event<Pod>| {
        match event {
            Event::Item(pod) => feed.take(Input::Pod(Source::List, &pod)),
            Event::Apply(pod) => feed.take(Input::Pod(Source::Watch, &pod)),
            Event::Delete(pod) if Index::only_strayed(&pod) => {}
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

/// Follows the workspace pods that lost the label by which the others are found.
async fn strays(feed: Feed) {
    let (component, marker) = (label::COMPONENT, label::MARKER);
    let labels = format!("{component}=workspace,{marker}!=true");
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

async fn records(feed: Feed) {
    let selection = feed.selection(
        "records",
        "configmaps",
        format!("{}={RECREATE}", label::RECORD),
        "",
    );
    informer::follow(
        feed.client.clone(),
        selection,
        |event: Event<ConfigMap>| match event {
            Event::Item(map) | Event::Apply(map) => feed.take(Input::Record(&map)),
            Event::Delete(map) => feed.take(Input::RecordGone(&map)),
            Event::Listed { names, version } => {
                feed.take(Input::RecordsListed(&names, version));
                feed.check_synced();
            }
            Event::Alive => {}
        },
    )
    .await;
}

/// Timeouts and completions wait until the ConfigMap is read or known to be missing.
async fn maintenance(feed: Feed, switch: watch::Sender<Switch>) {
    let name = format!("metadata.name={}", maintenance::CONFIG_MAP);
    let selection = feed.selection("maintenance", "configmaps", String::new(), &name);
    let set = |map: Option<&ConfigMap>| {
        let read = Switch::read(map).unwrap_or_else(|why| {
            warn!(
                name = maintenance::CONFIG_MAP,
                why, "no maintenance: the ConfigMap is unreadable"
            );
            Switch::Off
        });
        let before = switch.send_replace(read);
        if before != read {
            info!(?read, "maintenance");
            feed.hub.decide_all_again();
            feed.check_synced();
        }
    };
    informer::follow(
        feed.client.clone(),
        selection,
        |event: Event<ConfigMap>| match event {
            Event::Item(map) | Event::Apply(map) => set(Some(&map)),
            Event::Delete(_) => set(None),
            Event::Listed { names, .. } if names.is_empty() => set(None),
            Event::Listed { .. } | Event::Alive => {}
        },
    )
    .await;
}

/// Whoever switched Services off may have no right to them.
async fn services(feed: Feed, needed: bool) {
    // There are two to a pod: listed at the same time they would double the wait for the first answer.
    let mut synced = feed.hub.synced();
    let _ = synced.wait_for(|synced| *synced).await;
    let labels = format!("{}=true", label::MARKER);
    let mut selection = feed.selection("services", "services", labels, "");
    if !needed {
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
async fn nodes(feed: Feed) {
    let selection = Selection {
        kind: "nodes",
        path: "/api/v1/nodes".to_owned(),
        labels: String::new(),
        fields: String::new(),
        component: Component::optional("nodes"),
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

async fn warnings(feed: Feed) {
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

/// The index keeps no whole pods: one whose status a warning may change is read again. A workspace that has neither pod
/// nor record is looked for until it is found or known to be gone.
async fn read_again(
    actor: Actor,
    reread: mpsc::Sender<Arc<str>>,
    mut pods: mpsc::Receiver<Arc<str>>,
) -> anyhow::Result<()> {
    while let Some(pod) = pods.recv().await {
        let limit = tokio::time::Instant::now() + READ_LIMIT;
        if let Err(error) = actor.look_again(&pod, limit).await {
            match error {
                // Logged once for all, by whoever sends the requests.
                Error::Unreachable { .. } => debug!(%pod, %error, "cannot read the pod again"),
                _ => warn!(%pod, %error, "cannot read the pod again"),
            }
            if actor.is_lost(&pod) {
                tokio::time::sleep(PAUSE).await;
                let _ = reread.try_send(pod);
            }
        }
    }
    Ok(())
}

/// Takes the index out of service while nothing is heard of the API server.
async fn staleness(hub: Hub, mut heard: watch::Receiver<()>) -> anyhow::Result<()> {
    let synced = hub.synced();
    let mut ever = false;
    loop {
        ever |= *synced.borrow();
        match tokio::time::timeout(STALE_AFTER, heard.changed()).await {
            Ok(Ok(())) if ever && !*synced.borrow() => {
                info!("the API server is back");
                hub.set_synced(true);
            }
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) if ever && *synced.borrow() => {
                warn!(after = ?STALE_AFTER, "nothing heard of the API server: not ready");
                hub.set_synced(false);
            }
            Err(_) => {}
        }
    }
}
