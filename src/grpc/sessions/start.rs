//! How the start of a session is carried out.

use std::collections::HashSet;

use futures::future::try_join_all;
use tokio::time::Instant;

use super::Sessions;
use crate::action::Action;
use crate::cluster::act::Outcome;
use crate::error::Error;
use crate::index::noun::{Group, Noun};
use crate::index::reference;
use crate::objects::Pod;
use crate::proto::wsman::sessions::v1::{DryRun, Session, StartSessionRequest};
use crate::rpc::methods::DEFAULT_DEADLINE;
use crate::sessions::Sessions as SessionNoun;
use crate::sessions::capacity;
use crate::sessions::marks::{annotation, label};
use crate::sessions::plan::{self, Plan};
use crate::sessions::request::SessionRequest;
use crate::sessions::survey::Survey;
use crate::sessions::view::View;

impl Sessions {
    /// Creates the pod of the decider, which commits the start, then everything else; or finds those of an earlier start by
    /// the same request.
    pub(super) async fn start(
        &self,
        request: StartSessionRequest,
        deadline: Instant,
    ) -> Result<Session, Error> {
        let rules = self.rules.borrow().clone();
        let dry_run = request.dry_run();
        let request = SessionRequest::parse(request, &rules)?;
        let plan = plan::plan(&request, &rules, self.clock.now())?;
        if self.hub.read(|index| index.by_id(&request.id).is_none()) {
            self.hub
                .read(|index| capacity::check(&request.spec, &Survey::of(index, &rules)))?;
        }
        if dry_run != DryRun::None {
            return self.try_start(&request, &plan, dry_run, deadline).await;
        }
        let create = Action::CreatePod(Box::new(plan.anchor.clone()));
        let anchor = match self.actor.act(&create, deadline).await? {
            Outcome::Created(pod) => pod,
            Outcome::Exists(pod) => {
                check_same(&request, &pod)?;
                pod
            }
            other => {
                let why = format!("creating a pod ended as {other:?}");
                return Err(Error::Internal { why });
            }
        };
        self.complete(plan, &anchor).await?;
        self.known(&request.id, deadline).await
    }

    /// Returns what a start would return, and starts nothing.
    async fn try_start(
        &self,
        request: &SessionRequest,
        plan: &Plan,
        dry_run: DryRun,
        deadline: Instant,
    ) -> Result<Session, Error> {
        let known = self.hub.read(|index| {
            let view = View::of(index.by_id(&request.id)?)?;
            Some(view.anchor.fingerprint.clone())
        });
        if let Some(fingerprint) = known {
            return match fingerprint == request.fingerprint {
                true => self.known(&request.id, deadline).await,
                false => Err(exists(&request.id)),
            };
        }
        if dry_run == DryRun::Server {
            let pods = [&plan.anchor].into_iter().chain(&plan.members);
            let tried =
                try_join_all(pods.map(
                    async |pod| match self.actor.try_pod(pod, deadline).await? {
                        true => Ok(()),
                        false => Err(taken(pod.metadata.name.as_deref().unwrap_or_default())),
                    },
                ));
            tried.await?;
        }
        let rules = self.rules.borrow().clone();
        let now = self.clock.now();
        let position = self
            .hub
            .read(|index| Survey::of(index, &rules).position_of(&request.id, &request.spec, now));
        Ok(plan::outlook(request, position))
    }

    /// Creates what belongs to the anchor. What cannot be created now the leader creates later.
    async fn complete(&self, plan: Plan, anchor: &Pod) -> Result<(), Error> {
        let deadline = Instant::now() + DEFAULT_DEADLINE;
        let anchor = reference(anchor);
        let there: HashSet<String> = self.hub.read(|index| {
            let group = index.group(&anchor.uid);
            let members = group.into_iter().flat_map(Group::members);
            members.map(|member| member.pod.name.clone()).collect()
        });
        let actions = plan.dependants(&anchor, |name| there.contains(name));
        let outcomes = try_join_all(
            actions
                .iter()
                .map(|action| self.actor.act(action, deadline)),
        );
        for outcome in outcomes.await? {
            if let Outcome::Exists(pod) = outcome
                && !pod
                    .metadata
                    .owner_references
                    .iter()
                    .any(|owner| owner.uid == anchor.uid)
            {
                return Err(taken(&pod.metadata.name));
            }
        }
        Ok(())
    }
}

/// Whether the pod of a name is that of an earlier start by the same request.
fn check_same(request: &SessionRequest, pod: &Pod) -> Result<(), Error> {
    let meta = &pod.metadata;
    if meta.label(label::GROUP) != Some(request.id.as_str()) {
        return Err(taken(&meta.name));
    }
    if meta.annotation(annotation::SPEC_SHA256) != Some(request.fingerprint.as_str()) {
        return Err(exists(&request.id));
    }
    Ok(())
}

fn exists(id: &str) -> Error {
    Error::Exists {
        noun: SessionNoun::KIND,
        id: id.to_owned(),
    }
}

fn taken(pod: &str) -> Error {
    Error::Precondition {
        state: "NAME_IN_USE",
        why: format!("pod {pod} is there already, and is none of this session"),
    }
}
