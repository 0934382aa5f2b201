//! Whole lives: a small pure cluster carries out the decisions until the pod is gone, for ordinary and for spoilt pods.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::case::{Case, reporting};
use super::mutate::{self, Mutation};
use crate::action::Action;
use crate::proto::wsman::WorkspacePhase;
use crate::workspaces::content::Content;

/// Writes that one moment may need before nothing is left to do.
const PASSES: usize = 6;

/// The pod and what the cluster would make of it.
struct Cluster {
    case: Case,
    phases: Vec<WorkspacePhase>,
}

impl Cluster {
    fn new(case: Case) -> Self {
        Self {
            case,
            phases: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.case.pod.is_null()
    }

    /// Decides and writes until nothing is left to do now; the second half of the promise is that this ends.
    fn settle(&mut self) -> Option<Timestamp> {
        for _ in 0..PASSES {
            if self.is_empty() {
                return None;
            }
            let (phase, decision) = self.case.pass();
            self.see(phase);
            if decision.actions.is_empty() {
                let wake = decision.wake_at.map(|wake| wake.at);
                assert!(
                    wake.is_none_or(|at| at > self.case.now),
                    "wakes in the past"
                );
                return wake;
            }
            for action in &decision.actions {
                self.act(action);
            }
        }
        panic!("still writing after {PASSES} passes: {:#}", self.case.pod);
    }

    /// STOPPING ends in STOPPED only, and STOPPED in nothing.
    fn see(&mut self, phase: WorkspacePhase) {
        let before = self.phases.last().copied().unwrap_or_default();
        assert!(
            order(before) <= order(phase),
            "{before:?} became {phase:?}: {:#}",
            self.case.pod
        );
        self.phases.push(phase);
    }

    fn act(&mut self, action: &Action) {
        if self.is_empty() {
            return;
        }
        let now = self.case.now;
        let meta = &mut self.case.pod["metadata"];
        match action {
            Action::Mark(_, mark) => {
                let marks = meta["annotations"]
                    .as_object_mut()
                    .expect("workspaces have annotations");
                marks.extend(mark.set.iter().map(|(k, v)| (k.clone(), json!(v))));
                for key in &mark.remove {
                    marks.remove(key);
                }
            }
            Action::Stop(_, grace) => {
                assert!(time(&meta["deletionTimestamp"]).is_none(), "deleted twice");
                let bound = self.case.pod["spec"]["nodeName"].is_string();
                let grace = if bound {
                    i64::try_from(grace.as_secs()).unwrap()
                } else {
                    0
                };
                self.delete(grace);
            }
            Action::ForceDelete(_) => self.delete(0),
            Action::RemoveFinalizer(_, finalizer) => {
                if let Some(all) = meta["finalizers"].as_array_mut() {
                    all.retain(|f| f != finalizer);
                }
            }
            // A pod that was made too late, or whose successor is gone.
            Action::Discard(discard) => {
                self.delete(0);
                if let Some(all) = self.case.pod["metadata"]["finalizers"].as_array_mut() {
                    all.retain(|f| f != discard.finalizer);
                }
            }
            // Nothing of its pod changes.
            Action::KeepPvc(..) => {}
            other => panic!("the lifecycle never creates: {other:?}"),
        }
        self.case.now = now;
        self.collect();
    }

    fn delete(&mut self, grace: i64) {
        let at = self.case.now + SignedDuration::from_secs(grace);
        self.case.pod["metadata"]["deletionTimestamp"] = json!(at.to_string());
        self.case.pod["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
    }

    /// The API server drops a pod that nothing holds.
    fn collect(&mut self) {
        let meta = &self.case.pod["metadata"];
        let held = meta["finalizers"].as_array().is_some_and(|f| !f.is_empty());
        if !held && meta["deletionGracePeriodSeconds"] == 0 && !meta["deletionTimestamp"].is_null()
        {
            self.case.pod = Value::Null;
        }
    }

    /// The kubelet ends a pod whose grace is over.
    fn kubelet(&mut self) {
        let meta = &self.case.pod["metadata"];
        let end = time(&meta["deletionTimestamp"]);
        if end.is_none_or(|end| end > self.case.now) {
            return;
        }
        let ended = json!({"terminated": {"exitCode": 137, "reason": "Error"}});
        if let Some(containers) = self.case.pod["status"]["containerStatuses"].as_array_mut() {
            for container in containers.iter_mut().filter(|c| c.is_object()) {
                container["state"] = ended.clone();
            }
        }
        self.case.pod["status"]["phase"] = json!("Failed");
        self.case.pod["metadata"]["deletionGracePeriodSeconds"] = json!(0);
        self.collect();
    }
}

/// How far a workspace has come that cannot go back.
fn order(phase: WorkspacePhase) -> u8 {
    match phase {
        WorkspacePhase::Stopping => 1,
        WorkspacePhase::Stopped => 2,
        _ => 0,
    }
}

fn time(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}

/// Lives on, from deadline to deadline, until the pod is gone.
fn live(mut cluster: Cluster, with_kubelet: bool) -> Cluster {
    for _ in 0..40 {
        let wake = cluster.settle();
        if cluster.is_empty() {
            break;
        }
        // Past the next deadline, or past the longest grace of a stop.
        let later = cluster.case.now + SignedDuration::from_mins(1);
        cluster.case.now = wake.unwrap_or(later).max(later);
        if with_kubelet {
            cluster.kubelet();
        }
    }
    cluster
}

/// Whether a workspace comes to its end and its pod goes, with a kubelet that does its part.
pub(super) fn ends(case: Case) -> bool {
    live(Cluster::new(case), true).is_empty()
}

pub(super) fn marks() -> impl Strategy<Value = Vec<(&'static str, &'static str)>> {
    let all = vec![
        ("gitpod/never-ready", "true"),
        ("gitpod.io/attemptingToCreate", "true"),
        ("gitpod/closed", "true"),
        ("gitpod/customTimeout", "-1h"),
        ("gitpod/customClosedTimeout", "0"),
        ("gitpod/timedout", "timed out"),
        ("gitpod/explicitFail", "failed"),
        ("gitpod/failedBeforeStopping", "true"),
        ("gitpod.io/stoppedByRequest", "10s"),
        ("gitpod.io/abortRequest", "true"),
        ("gitpod.io/disposalStatus", "{\"status\":\"started\"}"),
        ("wsman.dev/failure", "first"),
        ("wsman.dev/stuck", "reported"),
        ("wsman.dev/maximum-lifetime", "1h"),
        ("wsman.dev/stopped", "no moment"),
    ];
    proptest::sample::subsequence(all, 0..=4)
}

fn limits() -> Value {
    json!({
        "afterClose": "2m", "headlessWorkspace": "1h", "initialization": "30m", "regularWorkspace": "30m",
        "maxLifetime": "36h", "startup": "1h", "contentFinalization": "50m", "stopping": "40m", "interrupted": "5m",
    })
}

pub(super) fn case(pod: Value, marks: &[(&str, &str)], daemon: bool, bus: Option<bool>) -> Case {
    let mut case = Case::read(&json!({ "pod": pod, "now": "2026-03-01T10:00:00Z" }));
    case.policy = reporting(&limits());
    if daemon {
        case.policy.content = Content::WsDaemon;
    }
    // Where there is a bus, it has confirmed the end, or never will.
    case.policy.announce_within = bus.map(|_| Duration::from_secs(300));
    case.announced = bus == Some(true);
    if let Some(all) = case.pod["metadata"]["annotations"].as_object_mut() {
        all.extend(marks.iter().map(|(k, v)| ((*k).to_owned(), json!(v))));
    }
    case
}

proptest! {
    #[test]
    fn every_life_ends_in_stopped(
        pod in mutate::pods(),
        marks in marks(),
        daemon: bool,
        kubelet: bool,
        bus: Option<bool>,
    ) {
        let cluster = live(Cluster::new(case(pod, &marks, daemon, bus)), kubelet);
        // Kubernetes' own phase Unknown has no limit, and a pod that no kubelet ends stays in the API.
        let endless = cluster.case.pod["status"]["phase"] == "Unknown";
        if kubelet {
            prop_assert!(cluster.is_empty() || endless, "{:#}", cluster.case.pod);
        } else if !endless {
            let last = cluster.phases.last().copied();
            prop_assert!(cluster.is_empty() || last == Some(WorkspacePhase::Stopped), "{last:?}");
        }
    }

    #[test]
    fn a_node_turns_no_workspace_back(pod in mutate::pods(), marks in marks()) {
        let mut case = case(pod, &marks, false, None);
        let untainted = json!({ "metadata": { "name": "node-a" } });
        let orders = [Value::Null, json!("gone"), untainted, mutate::node()].map(|node| {
            case.node = node;
            order(case.fold().expect("a workspace").0.phase())
        });
        prop_assert!(orders.iter().all(|o| *o == orders[0]), "{:?}: {:#}", orders, case.pod);
    }

    #[test]
    fn spoilt_pods_neither_panic_nor_flap(
        pod in mutate::pods(),
        marks in marks(),
        mutations in proptest::collection::vec(any::<Mutation>(), 1..6),
        node in any::<Option<Mutation>>(),
        seconds in any::<i64>(),
    ) {
        let bus = [None, Some(true), Some(false)][seconds.rem_euclid(3) as usize];
        let mut case = case(pod, &marks, seconds % 2 == 0, bus);
        case.node = mutate::node();
        for mutation in &mutations {
            mutate::spoil(&mut case.pod, mutation);
        }
        if let Some(mutation) = node {
            mutate::spoil(&mut case.node, &mutation);
        }
        case.now = Timestamp::from_second(seconds % 253_402_207_200).unwrap_or_default();
        case.activity = Timestamp::from_second(seconds / 7 % 253_402_207_200).ok();
        // Spoilt pods may lack what writes need; what is left must settle like any other.
        if case.pod["metadata"]["annotations"].is_object() {
            Cluster::new(case).settle();
        } else {
            let _ = case.pass();
        }
    }
}
