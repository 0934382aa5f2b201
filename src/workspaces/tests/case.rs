//! A case as its file holds it: the objects, the moment, and the rules; and one pass of fold and lifecycle over it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::action::PodRef;
use crate::objects::{Event, Node, Pod};
use crate::proto::wsman::WorkspaceStatus;
use crate::workspaces::case;
use crate::workspaces::decide::{Entry, LifecyclePolicy, Verdict, decide};
use crate::workspaces::pod_state::{self, PodState};
use crate::workspaces::status::{self, Defaults, NodeView, NotWorkspace, Observed, Why};

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
    pub(super) fn fold(&self) -> Result<(Entry, Why), NotWorkspace> {
        self.observe(|observed| {
            let (_, why) = status::explain(observed, &self.defaults)?;
            Ok((self.entry(observed), why))
        })
    }

    fn observe<T>(&self, look: impl FnOnce(&Observed<'_>) -> T) -> T {
        let pod: Pod = serde_json::from_value(self.pod.clone()).unwrap_or_default();
        let events: Vec<Event> = serde_json::from_value(self.events.clone()).unwrap_or_default();
        let node: Option<Node> = serde_json::from_value(self.node.clone()).ok();
        let node = match (&self.node, &node) {
            (Value::String(_), _) => NodeView::Gone,
            (Value::Object(_), Some(node)) => NodeView::Present(node),
            _ => NodeView::Unknown,
        };
        look(&Observed {
            pod: &pod,
            events: &events,
            node,
        })
    }

    fn entry(&self, observed: &Observed<'_>) -> Entry {
        let (pod, folded) = (observed.pod, status::fold(observed, &self.defaults));
        Entry {
            pod: PodRef {
                name: pod.metadata.name.clone(),
                uid: pod.metadata.uid.clone(),
            },
            status: folded.status,
            state: PodState {
                announced: self.announced,
                ..pod_state::of(observed)
            },
            why: folded.why,
        }
    }

    pub(super) fn pass(&self) -> (WorkspaceStatus, Verdict) {
        let entry = self.observe(|observed| self.entry(observed));
        let verdict = decide(&entry, self.activity, &self.policy, self.now);
        (entry.status, verdict)
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
