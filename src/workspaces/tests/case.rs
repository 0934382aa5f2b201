//! A case as its file holds it: the objects, the moment, and the rules; and one pass of fold and lifecycle over it.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::action::{Action, PodRef};
use crate::config::{Services, Timeouts};
use crate::duration::GoDuration;
use crate::objects::{Event, Node, Pod};
use crate::proto::wsman::WorkspaceStatus;
use crate::workspaces::decide::{Content, Entry, Rules, Verdict, decide};
use crate::workspaces::facts::{self, Facts};
use crate::workspaces::maintenance::FOR_EVER;
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
    pub(super) rules: Rules,
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
            rules: rules(&input["rules"]),
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
            facts: Facts {
                announced: self.announced,
                ..facts::of(observed)
            },
            why: folded.why,
        }
    }

    pub(super) fn pass(&self) -> (WorkspaceStatus, Verdict) {
        let entry = self.observe(|observed| self.entry(observed));
        let verdict = decide(&entry, self.activity, &self.rules, self.now);
        (entry.status, verdict)
    }
}

fn rules(value: &Value) -> Rules {
    let duration = |key: &str| {
        let text = value[key].as_str();
        text.map(|t| GoDuration::parse(t).expect("a duration").to_std())
    };
    Rules {
        services: Services::Headless,
        timeouts: timeouts(&value["timeouts"]),
        maintenance: match &value["maintenance"] {
            Value::String(end) => Some(end.parse().expect("RFC 3339")),
            switch => (*switch == true).then_some(FOR_EVER),
        },
        recreate_after: duration("recreate_after").unwrap_or_default(),
        content: match value["content"].as_str() {
            Some("ws-daemon") => Content::WsDaemon,
            _ => Content::None,
        },
        report_stuck_after: duration("report_stuck_after"),
        announce_within: duration("announce_within"),
    }
}

pub(super) fn timeouts(value: &Value) -> Option<Timeouts> {
    let limit = |key: &str| serde_json::from_value(value[key].clone()).unwrap_or_default();
    value.is_object().then(|| Timeouts {
        after_close: limit("afterClose"),
        headless_workspace: limit("headlessWorkspace"),
        initialization: limit("initialization"),
        regular_workspace: limit("regularWorkspace"),
        max_lifetime: limit("maxLifetime"),
        startup: limit("startup"),
        content_finalization: limit("contentFinalization"),
        stopping: limit("stopping"),
        interrupted: limit("interrupted"),
    })
}

/// One line for each write.
pub(super) fn lines(actions: &[Action]) -> Value {
    let line = |action: &Action| match action {
        Action::Mark(_, mark) => json!({"set": mark.set, "remove": mark.remove}),
        Action::Stop(_, grace) => json!({"stop": grace.as_secs()}),
        Action::ForceDelete(_) => json!("force delete"),
        Action::RemoveFinalizer(_, finalizer) => json!({"release": finalizer}),
        Action::Recreate(step) => json!({"recreate": step.name()}),
        other => panic!("the lifecycle never creates: {other:?}"),
    };
    actions.iter().map(line).collect()
}

/// A default that reports stuck pods, as the daemon does.
pub(super) fn reporting(timeouts: &Value) -> Rules {
    Rules {
        timeouts: super::case::timeouts(timeouts),
        report_stuck_after: Some(Duration::from_secs(60)),
        ..Rules::default()
    }
}
