//! Has the ws-daemon of a node fill and save workspaces.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::time::Instant;

use super::Backends;
use crate::action::Action;
use crate::cluster::informer::{self, Event, Selection};
use crate::config::{Manager, Settings};
use crate::error::Error;
use crate::objects::Pod;
use crate::proto::wsdaemon::{DisposeWorkspaceRequest, InitWorkspaceRequest};
use crate::readiness::Component;
use crate::workspaces::content::wsdaemon::request::{self, Missing};
use crate::workspaces::content::wsdaemon::{Keeping, NodeStep, Outcome, What};
use crate::workspaces::rejected;
use crate::wsdaemon::{Daemons, SELECTOR, Target};

/// Bound on reading what a step needs of the API server.
const READ: Duration = Duration::from_secs(30);

/// Follows the pods of ws-daemons, from the moment at which they are to be called.
///
/// # Errors
/// None; it is cut.
pub(in crate::daemon) async fn follow_daemons(
    client: Client,
    namespace: String,
    daemons: Daemons,
    mut settings: watch::Receiver<Arc<Settings>>,
    component: Component,
) -> anyhow::Result<()> {
    let called = settings.wait_for(|settings| settings.manager.daemon().is_some());
    if called.await.is_err() {
        return std::future::pending().await;
    }
    let selection = Selection {
        labels: SELECTOR.to_owned(),
        ..Selection::namespaced("pods", &namespace, component)
    };
    informer::follow(client, selection, |event: Event<Pod>| match event {
        Event::Item(pod) | Event::Apply(pod) => daemons.apply(&pod),
        Event::Delete(pod) => daemons.delete(&pod.metadata.name),
        Event::Listed { names, .. } => daemons.retain(&names),
        Event::Alive => {}
    })
    .await;
    Ok(())
}

impl Backends {
    pub(super) async fn on_node(&self, step: &NodeStep) -> Result<Vec<Action>, Error> {
        let settings = self.settings.borrow().clone();
        let manager = &settings.manager;
        let Some(daemon) = manager.daemon() else {
            return Err(unavailable("no ws-daemon is configured"));
        };
        let timeouts = &manager.timeouts;
        let limit = match step.what {
            What::Fill | What::AwaitFilled => timeouts.startup,
            _ => timeouts.content_finalization,
        };
        let target = Target {
            node: step.node.clone(),
            daemon: daemon.clone(),
            limit: limit.to_std(),
        };
        let id = &step.id;
        let outcome = match step.what {
            What::Fill => Outcome::Filled(self.fill(step, &target, manager).await?),
            What::AwaitFilled => Outcome::Ready(self.await_filled(step, &target, manager).await?),
            What::BeginDisposal(_) => {
                let found = self.daemons.find(&target, id).await;
                Outcome::Found(found.map_err(|failure| failure.to_string()))
            }
            What::Snapshot => {
                let taken = self.daemons.last_snapshot(&target, id).await;
                Outcome::Snapshot(taken.map_err(|failure| failure.to_string()))
            }
            What::Dispose { keeping, again } => self.dispose(&target, id, keeping, again).await,
        };
        Ok(step.record(outcome))
    }

    async fn fill(
        &self,
        step: &NodeStep,
        target: &Target,
        manager: &Manager,
    ) -> Result<Result<(), String>, Error> {
        let filled = match self.request(step, manager).await? {
            Ok(request) => {
                let filled = self.daemons.fill(target, &request).await;
                filled.map_err(|failure| failure.to_string())
            }
            Err(why) => Err(why),
        };
        Ok(filled.map_err(|why| format!("cannot initialize workspace: {why}")))
    }

    /// What fills the workspace of a step, or why it cannot be filled.
    async fn request(
        &self,
        step: &NodeStep,
        manager: &Manager,
    ) -> Result<Result<InitWorkspaceRequest, String>, Error> {
        let deadline = Instant::now() + READ;
        let pod = self.actor.read_pod(&step.pod.name, deadline).await?;
        let pod = pod.filter(|pod| pod.metadata.uid == step.pod.uid);
        let Some(pod) = pod else {
            return Err(unavailable("the pod is gone"));
        };
        let name = rejected::anchor_name(&pod.metadata);
        let build = |secret| request::fill(&pod, &step.id, secret, manager);
        let built = match build(None) {
            Err(Missing::Secret) => {
                let secret = self.actor.read_secret(name, deadline).await?;
                build(secret.as_ref().map(|secret| &secret.data))
            }
            built => built,
        };
        match built {
            Ok(request) => Ok(Ok(request)),
            Err(Missing::Else(why)) => Ok(Err(why)),
            // It is created right after the pod.
            Err(Missing::Secret) => Err(unavailable("the Secret is not there yet")),
        }
    }

    /// A daemon that lost the workspace fills it again.
    async fn await_filled(
        &self,
        step: &NodeStep,
        target: &Target,
        manager: &Manager,
    ) -> Result<Result<(), String>, Error> {
        let there = match self.daemons.knows(target, &step.id).await {
            Ok(false) => Ok(false),
            Ok(true) => self.daemons.is_filled(target, &step.id).await,
            Err(failure) => Err(failure),
        };
        match there {
            Ok(true) => Ok(Ok(())),
            Ok(false) => self.fill(step, target, manager).await,
            Err(failure) => {
                let why = match failure.is_busy() {
                    true => "workspace initialization is currently unavailable - please try again"
                        .to_owned(),
                    false => failure.to_string(),
                };
                Ok(Err(format!(
                    "cannot wait for workspace to initialize: {why}"
                )))
            }
        }
    }

    async fn dispose(&self, target: &Target, id: &str, keeping: Keeping, again: bool) -> Outcome {
        let request = DisposeWorkspaceRequest {
            id: id.to_owned(),
            backup: keeping.backup,
            backup_logs: keeping.logs,
        };
        let disposed = match again {
            false => self.daemons.dispose_once(target, &request).await,
            true => self.daemons.dispose_again(target, &request).await,
        };
        match disposed {
            Err(failure) if !again && failure.is_passing() => Outcome::Retrying,
            disposed => Outcome::Disposed(disposed.map_err(|failure| failure.to_string())),
        }
    }
}

fn unavailable(why: &str) -> Error {
    Error::Unavailable {
        why: why.to_owned(),
        retry_after: None,
    }
}
