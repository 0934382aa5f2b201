//! Registers sessions: which objects are theirs, what of the configuration they obey, what the message bus gets, and what
//! runs for them alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Client;
use serde::Serialize;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::admin::Page;
use crate::amqp::Feed;
use crate::clock::Clock;
use crate::cluster::act::Actor;
use crate::cluster::logs::Logs;
use crate::cluster::reconcile::{self, NoSteps};
use crate::cluster::rights::{Right, needed};
use crate::cluster::watch::{self as cluster_watch, Selectors};
use crate::config::Settings;
use crate::grpc;
use crate::hub::Hub;
use crate::index::Index;
use crate::index::input::Input;
use crate::leadership::Leadership;
use crate::readiness::{Component, Components, Readiness};
use crate::rpc::call::CallContext;
use crate::sessions::Sessions;
use crate::sessions::bus_message;
use crate::sessions::marks::{KIND, label};
use crate::sessions::rules::SessionRules;
use crate::sessions::survey::Survey;
use crate::sessions::update::SessionUpdate;
use crate::tasks::Tasks;

use super::bus::Of;
use super::follow_synced;

/// Its publisher on the message bus.
pub(super) const BUS: Of = Of {
    key: "sessions",
    component: "messagebus of sessions",
    tasks: [
        "message bus of sessions",
        "state of the message bus of sessions",
    ],
};

/// Name of the nodes among the components.
const NODES: &str = "nodes";
/// What the reason of a component begins with where a verb is refused.
const CANNOT: &str = "cannot ";

/// What sessions need beside the rights of all.
pub(super) static RIGHTS: [Right; 1] = [Right {
    verbs: &["get"],
    optional: true,
    ..needed("pods/log", "logs of sessions")
}];

/// What the daemon shares with its nouns.
pub(super) struct Shared<'a> {
    pub(super) client: &'a Client,
    pub(super) namespace: &'a str,
    pub(super) readiness: &'a Readiness,
    pub(super) clock: &'a Clock,
    pub(super) leadership: Leadership,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) calls: CallContext,
}

/// Starts what keeps sessions, and returns their service; `None` if the configuration has none.
pub(super) fn start(tasks: &mut Tasks, shared: &Shared<'_>) -> Option<grpc::sessions::Sessions> {
    let rules = shared.settings.borrow().sessions.clone()?;
    let hub: Hub<Sessions> = Hub::with_clock(Index::default(), shared.clock.clone());
    let answers = hub.clone();
    let sink = Arc::new(move |input: Input<'_>| drop(answers.take(input)));
    let actor = Actor::new(shared.client.clone(), shared.namespace, sink);
    let component = shared.readiness.component("sessions");
    component.not_ready("the sessions are not listed yet");
    let nodes = shared.readiness.optional(NODES);
    nodes.not_ready("the nodes are not listed yet");
    let (open, gate) = watch::channel(false);
    cluster_watch::spawn(
        tasks,
        shared.client,
        shared.namespace,
        &hub,
        &actor,
        shared.readiness,
        selectors(&rules, nodes, gate),
    );
    tasks.spawn(
        "nodes of sessions",
        follow_nodes(shared.readiness.watch(), rules.pools.fixed.clone(), open),
    );
    tasks.spawn("sessions", follow_synced(hub.synced(), component));
    let (new_rules, configured) = watch::channel(Arc::new(rules));
    tasks.spawn(
        "configuration of sessions",
        configure(shared.settings.clone(), new_rules),
    );
    tasks.spawn(
        "lifecycle of sessions",
        reconcile::run(
            hub.clone(),
            actor.clone(),
            configured.clone(),
            shared.clock.clone(),
            shared.leadership.clone(),
            Arc::new(NoSteps),
            async || {},
        ),
    );
    Some(grpc::sessions::Sessions {
        calls: shared.calls.clone(),
        hub,
        actor,
        logs: Logs::new(shared.client.clone(), shared.namespace),
        rules: configured,
        clock: shared.clock.clone(),
    })
}

/// Returns which objects are sessions'.
fn selectors(rules: &SessionRules, nodes: Component, gate: watch::Receiver<bool>) -> Selectors {
    let ours = format!("{}={}", label::INSTALLATION, rules.installation);
    let kind = label::KIND;
    Selectors {
        pods: format!("{ours},{kind}={KIND}"),
        strays: format!("{ours},{kind}!={KIND},{}", label::GROUP),
        services: format!("{ours},{kind}={KIND}"),
        optional_services: false,
        nodes,
        gate,
    }
}

/// Serves sessions once it is known which machines there are: the nodes are listed or, where they may not be, the pools are
/// those of the configuration (docs/operations.md#pools-and-queues).
async fn follow_nodes(
    mut components: watch::Receiver<Components>,
    fixed: BTreeMap<String, u32>,
    open: watch::Sender<bool>,
) -> anyhow::Result<()> {
    let mut is_forbidden = false;
    loop {
        let state = components.borrow_and_update().state(NODES).cloned();
        match state.as_ref().map(|state| state.reason()) {
            Some(None) => {
                if is_forbidden {
                    info!("the nodes are listed: the pools are theirs");
                }
                is_forbidden = false;
                open.send_replace(true);
            }
            Some(Some(why)) if why.starts_with(CANNOT) => {
                if !is_forbidden {
                    let pools = fixed.keys().map(String::as_str);
                    let pools = pools.collect::<Vec<_>>().join(", ");
                    warn!(
                        why,
                        pools,
                        "nodes cannot be listed: the pools are those of sessions.pools.fixed"
                    );
                }
                is_forbidden = true;
                open.send_replace(true);
            }
            _ => {}
        }
        components.changed().await?;
    }
}

/// Returns what the message bus gets of sessions.
pub(super) fn feed(hub: &Hub<Sessions>) -> Feed<SessionUpdate> {
    let index = hub.clone();
    Feed {
        updates: hub.updates().clone(),
        encode: bus_message::of,
        confirmed: Box::new(move |last| drop(index.change(|index| index.announced(last)))),
        unannounced: Box::new(|| 0),
    }
}

/// What the page of the pools has of one, in slots.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolCounts<'a> {
    name: &'a str,
    capacity: u32,
    in_use: u32,
    free: u32,
    queued: u32,
    elastic: u32,
}

/// Returns the page of the pools.
pub(super) fn page(sessions: &grpc::sessions::Sessions) -> Page {
    let (hub, rules) = (sessions.hub.clone(), sessions.rules.clone());
    Page::new("pools", move || {
        let rules = rules.borrow().clone();
        hub.read(|index| {
            let survey = Survey::of(index, &rules);
            let pools = survey.pools().map(|pool| PoolCounts {
                name: pool.name,
                capacity: pool.supply.capacity,
                in_use: pool.supply.in_use,
                free: pool.supply.free(),
                queued: pool.queued,
                elastic: pool.supply.elastic,
            });
            serde_json::to_string(&pools.collect::<Vec<_>>()).ok()
        })
    })
}

/// Passes a new configuration on.
async fn configure(
    mut changes: watch::Receiver<Arc<Settings>>,
    rules: watch::Sender<Arc<SessionRules>>,
) -> anyhow::Result<()> {
    while changes.changed().await.is_ok() {
        let new = changes.borrow_and_update().sessions.clone();
        if let Some(new) = new.filter(|new| *new != **rules.borrow()) {
            rules.send_replace(Arc::new(new));
        }
    }
    // Without a reload.
    std::future::pending().await
}
