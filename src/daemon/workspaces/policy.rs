//! What the lifecycle obeys: the configuration, and the ConfigMap that switches maintenance
//! (docs/operations.md#maintenance).

use std::sync::Arc;

use kube::Client;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::cluster::informer::{self, Event, Selection};
use crate::objects::ConfigMap;
use crate::readiness::{Component, Readiness};
use crate::tasks::Tasks;
use crate::workspaces::decide::LifecyclePolicy;
use crate::workspaces::maintenance::{self, Switch};

/// What is known.
pub(in crate::daemon) struct Followed {
    /// What the ConfigMap says about maintenance.
    pub(in crate::daemon) switch: watch::Receiver<Switch>,
    /// What the lifecycle obeys now.
    pub(in crate::daemon) policy: watch::Receiver<Arc<LifecyclePolicy>>,
    /// The ConfigMap was read, or there is none: before that a maintenance may be under way.
    pub(in crate::daemon) known: watch::Receiver<bool>,
}

/// Follows the ConfigMap, and what the configuration says.
pub(in crate::daemon) fn follow(
    tasks: &mut Tasks,
    client: Client,
    namespace: &str,
    readiness: &Readiness,
    configured: watch::Receiver<Arc<LifecyclePolicy>>,
) -> Followed {
    let (new_switch, switch) = watch::channel(Switch::Unknown);
    let initial = Arc::new(configured.borrow().under(Switch::Unknown));
    let (new_policy, policy) = watch::channel(initial);
    let (open, known) = watch::channel(false);
    let component = readiness.component("maintenance");
    let followed = follow_switch(client, namespace.to_owned(), component, new_switch);
    tasks.spawn("watch maintenance", followed);
    let combined = combine(configured, switch.clone(), new_policy, open);
    tasks.spawn("lifecycle policy", combined);
    Followed {
        switch,
        policy,
        known,
    }
}

async fn combine(
    mut configured: watch::Receiver<Arc<LifecyclePolicy>>,
    mut switch: watch::Receiver<Switch>,
    policy: watch::Sender<Arc<LifecyclePolicy>>,
    known: watch::Sender<bool>,
) -> anyhow::Result<()> {
    loop {
        let now = *switch.borrow_and_update();
        policy.send_replace(Arc::new(configured.borrow_and_update().under(now)));
        // Only now: the lifecycle waits for it and decides by the policy.
        known.send_replace(now != Switch::Unknown);
        tokio::select! {
            Ok(()) = configured.changed() => {}
            Ok(()) = switch.changed() => {}
            else => return Ok(()),
        }
    }
}

/// Timeouts and completions wait until the ConfigMap is read or known to be missing.
async fn follow_switch(
    client: Client,
    namespace: String,
    component: Component,
    switch: watch::Sender<Switch>,
) -> anyhow::Result<()> {
    let selection = Selection {
        fields: format!("metadata.name={}", maintenance::CONFIG_MAP),
        ..Selection::namespaced("configmaps", &namespace, component)
    };
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
        }
    };
    informer::follow(client, selection, |event: Event<ConfigMap>| match event {
        Event::Item(map) | Event::Apply(map) => set(Some(&map)),
        Event::Delete(_) => set(None),
        Event::Listed { names, .. } if names.is_empty() => set(None),
        Event::Listed { .. } | Event::Alive => {}
    })
    .await;
    Ok(())
}
