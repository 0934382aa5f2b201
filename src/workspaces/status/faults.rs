//! The missing or invalid marks of a pod. Everything else of the pod counts; its status names the mark, so that the
//! person who changed it notices.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use prost::Message;

use super::NotWorkspace;
use crate::duration::GoDuration;
use crate::objects::{Meta, Pod};
use crate::proto::wsman::ExposedPorts;
use crate::workspaces::marks::{FINALIZER, annotation, label};
use crate::workspaces::{names, rejected};

/// The invalid marks of one pod.
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Those without which the classic manager saw no workspace, in its order.
    pub(super) grave: Vec<NotWorkspace>,
    /// All others.
    slight: Vec<String>,
}

impl Faults {
    /// Adds one without which the classic manager saw no workspace.
    pub(super) fn add(&mut self, why: String) {
        self.grave.push(NotWorkspace(why));
    }

    /// Adds those that affect only the mark itself.
    pub(super) fn look_at(&mut self, pod: &Pod) {
        let meta = &pod.metadata;
        for (key, is_readable, what) in ANNOTATIONS {
            if meta.annotation(key).is_some_and(|text| !is_readable(text)) {
                self.slight.push(format!("annotation {key} is {what}"));
            }
        }
        let headless = meta.label(label::HEADLESS);
        if headless.is_some_and(|text| !matches!(text, "true" | "false")) {
            let text = format!("label {} is neither true nor false", label::HEADLESS);
            self.slight.push(text);
        }
        let given = meta.annotation(annotation::ID);
        if given.is_some_and(|given| id(meta) != Some(given)) {
            let text = format!(
                "annotation {} is not that of pod {}",
                annotation::ID,
                meta.name
            );
            self.slight.push(text);
        }
        // Other programs may create pods with fewer marks; from ours these were removed.
        if meta.annotations.contains_key(annotation::SPEC_SHA256) {
            let keys = [annotation::SERVICE_PREFIX, annotation::OWNER_TOKEN];
            let missing = keys
                .into_iter()
                .filter(|key| meta.annotation(key).is_none());
            let missing = missing.map(|key| format!("annotation {key} is missing"));
            self.slight.extend(missing);
        }
    }

    /// Returns all of them as one text, empty if there are none.
    pub(super) fn text(&self) -> String {
        let grave = self.grave.iter().map(|fault| fault.0.as_str());
        let all: Vec<&str> = grave
            .chain(self.slight.iter().map(String::as_str))
            .collect();
        all.join("; ")
    }
}

/// Whether a value is valid.
type IsReadable = fn(&str) -> bool;

/// Annotations with a format, and their error.
const ANNOTATIONS: &[(&str, IsReadable, &str)] = &[
    (
        annotation::SERVICE_PREFIX,
        names::is_name_part,
        "no part of a name",
    ),
    (annotation::EXPOSED_PORTS, is_ports, "no list of ports"),
    (annotation::ADMISSION, is_admission, "no admission level"),
    (annotation::CUSTOM_TIMEOUT, is_duration, "no duration"),
    (
        annotation::CUSTOM_CLOSED_TIMEOUT,
        is_duration,
        "no duration",
    ),
    (annotation::MAXIMUM_LIFETIME, is_duration, "no duration"),
    (annotation::STOPPED_BY_REQUEST, is_duration, "no duration"),
    (annotation::FIRST_USER_ACTIVITY, is_time, "no time"),
    (annotation::PORTS_CHANGED, is_time, "no time"),
    (annotation::STARTED_AT, is_time, "no time"),
    (annotation::STOPPED, is_time, "no time"),
    (annotation::RECREATIONS, is_count, "no number"),
    (annotation::DISPOSAL_STATUS, is_object, "no JSON object"),
];

fn is_ports(text: &str) -> bool {
    let bytes = BASE64_STANDARD.decode(text).ok();
    bytes.is_some_and(|bytes| ExposedPorts::decode(bytes.as_slice()).is_ok())
}

fn is_admission(text: &str) -> bool {
    matches!(text, "admit_everyone" | "admit_owner_only")
}

fn is_duration(text: &str) -> bool {
    GoDuration::parse(text).is_ok()
}

fn is_time(text: &str) -> bool {
    text.parse::<Timestamp>().is_ok()
}

fn is_count(text: &str) -> bool {
    text.parse::<u32>().is_ok()
}

fn is_object(text: &str) -> bool {
    let value = serde_json::from_str::<serde_json::Value>(text);
    text.is_empty() || value.is_ok_and(|value| value.is_object())
}

/// Whether a pod with our finalizer lacks the label of the selector.
pub fn is_unmarked(meta: &Meta) -> bool {
    let held = meta.finalizers.iter().any(|f| f == FINALIZER);
    held && meta.label(label::MARKER) != Some("true")
}

/// Returns the instance id of a workspace's pod. Its annotation and its label may be changed, its name cannot: of
/// several ids the one of the name counts.
pub fn id(meta: &Meta) -> Option<&str> {
    let prefixes = ["ws-", "prebuild-", "imagebuild-"];
    let name = rejected::anchor_name(meta);
    let mut names = prefixes.iter().filter_map(|p| name.strip_prefix(p));
    let named = names.next().filter(|id| !id.is_empty());
    let given = [
        meta.annotation(annotation::ID),
        meta.label(label::WORKSPACE_ID),
    ];
    let [annotated, labelled] = given.map(|id| id.filter(|id| !id.is_empty()));
    let same = [annotated, labelled].into_iter().flatten();
    let same = same.into_iter().find(|id| Some(*id) == named);
    same.or(annotated).or(named).or(labelled)
}
