//! A case as its file holds it: the objects, the moment, and the rules; and one pass of fold and lifecycle over it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::decision::Decision;
use crate::index::observed::KnownNode;
use crate::objects::Node;
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};
use crate::workspaces::case::{self, Objects};
use crate::workspaces::content::step::Step;
use crate::workspaces::decide::LifecyclePolicy;
use crate::workspaces::status::{Defaults, NotWorkspace, Why};

#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) pod: Value,
    pub(super) events: Value,
    /// An object, null, or the text "gone".
    pub(super) node: Value,
    pub(super) activity: Option<Timestamp>,
    pub(super) now: Timestamp,
    /// The message bus has confirmed the STOPPED.
    pub(super) announced: bool,
    pub(super) defaults: Defaults,
    pub(super) policy: LifecyclePolicy,
}

impl Case {
    pub(super) fn read(input: &Value) -> Self {
        let time = |key: &str| input[key].as_str().map(|t| t.parse().expect("RFC 3339"));
        let text = |key: &str| {
            input["defaults"][key]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        Self {
            pod: input["pod"].clone(),
            events: input["events"].clone(),
            node: input["node"].clone(),
            activity: time("activity"),
            now: time("now").unwrap_or_default(),
            announced: input["announced"] == true,
            defaults: Defaults {
                timeout: text("timeout"),
                closed_timeout: text("closed_timeout"),
                version_offset: input["defaults"]["version_offset"].as_u64().unwrap_or(0),
                max_recreations: input["defaults"]["max_recreations"]
                    .as_u64()
                    .map_or(0, |n| u32::try_from(n).expect("a number of attempts")),
            },
            policy: policy(&input["rules"]),
        }
    }

    /// Folds the objects as `explain` does.
    pub(super) fn fold(&self) -> Result<(WorkspaceStatus, Why), NotWorkspace> {
        self.objects().explain()
    }

    fn objects(&self) -> Objects {
        let node: Option<Node> = serde_json::from_value(self.node.clone()).ok();
        Objects {
            pod: serde_json::from_value(self.pod.clone()).unwrap_or_default(),
            events: serde_json::from_value(self.events.clone()).unwrap_or_default(),
            node: match (&self.node, node) {
                (Value::String(_), _) => KnownNode::Gone,
                (Value::Object(_), Some(node)) => KnownNode::Present(Box::new(node)),
                _ => KnownNode::Unknown,
            },
            defaults: self.defaults.clone(),
        }
    }

    /// Folds the pod as the only one of its workspace, and decides.
    pub(super) fn pass(&self) -> (WorkspacePhase, Decision<Step>) {
        let case = case::Case {
            members: vec![self.objects()],
            activity: self.activity,
            announced: self.announced,
            policy: self.policy.clone(),
            now: self.now,
            ..case::Case::default()
        };
        let group = case.group().expect("it has a pod");
        (group.phase(), case.decide_on(&group))
    }
}

/// A default that reports stuck pods, as the daemon does.
pub(super) fn reporting(timeouts: &Value) -> LifecyclePolicy {
    LifecyclePolicy {
        timeouts: policy(&json!({ "timeouts": timeouts })).timeouts,
        report_stuck_after: Some(Duration::from_secs(60)),
        ..LifecyclePolicy::default()
    }
}

fn policy(value: &Value) -> LifecyclePolicy {
    case::policy(value).expect("rules")
}
