//! Registers workspaces: which objects are theirs, what of the configuration they obey, what the message bus gets, and
//! what runs for them alone.

pub(super) mod activity;
pub(super) mod content;
mod policy;

use tokio::sync::watch;

use super::bus::{MESSAGE_BUS, Of};
use crate::amqp::Feed;
use crate::cluster::watch::Selectors;
use crate::hub::Hub;
use crate::readiness::Component;
use crate::workspaces::bus_message;
use crate::workspaces::entry::Workspace;
use crate::workspaces::marks::label;
use crate::workspaces::update::StatusUpdate;
pub(super) use policy::follow as follow_policy;

/// Its publisher on the message bus.
pub(super) const BUS: Of = Of {
    key: "",
    component: MESSAGE_BUS,
    tasks: ["message bus", "message bus state"],
};

/// Returns which objects are workspaces'.
pub(super) fn selectors(has_services: bool, gate: watch::Receiver<bool>) -> Selectors {
    let (component, marker) = (label::COMPONENT, label::MARKER);
    Selectors {
        pods: format!("{marker}=true"),
        strays: format!("{component}=workspace,{marker}!=true"),
        services: format!("{marker}=true"),
        optional_services: !has_services,
        nodes: Component::optional("nodes"),
        gate,
    }
}

/// Returns what the message bus gets of workspaces: a pod whose STOPPED is stored can go.
pub fn feed(hub: &Hub<Workspace>) -> Feed<StatusUpdate> {
    let (index, counts) = (hub.clone(), hub.clone());
    Feed {
        updates: hub.updates().clone(),
        encode: bus_message::of,
        confirmed: Box::new(move |last| drop(index.change(|index| index.announced(last)))),
        unannounced: Box::new(move || counts.unannounced()),
    }
}
