//! The parts of a Kubernetes Event that explain a pod.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Meta;
use super::lenient::{self, Object};

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Name and version.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub metadata: Meta,
    /// What it is about.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub involved_object: InvolvedObject,
    /// CamelCase reason, such as FailedMount.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub reason: String,
    /// Text for people.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub message: String,
    /// Normal or Warning.
    #[serde(
        rename = "type",
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub kind: String,
    /// How often it was seen.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub count: i64,
    /// How often it was seen, as newer reporters count.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub series: Series,
    /// When it was last seen.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub last_timestamp: Option<Timestamp>,
    /// When it was first seen, as newer reporters say.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub event_time: Option<Timestamp>,
}

/// Repetitions of an event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Series {
    /// How often it was seen.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub count: i64,
    /// When it was last seen.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub last_observed_time: Option<Timestamp>,
}

impl Event {
    /// Returns how often it was seen, at least once.
    pub fn occurrences(&self) -> i64 {
        self.count.max(self.series.count).max(1)
    }

    /// Returns when it was last seen.
    pub fn last_seen(&self) -> Option<Timestamp> {
        let last = self.last_timestamp.max(self.series.last_observed_time);
        last.max(self.event_time)
    }
}

/// What an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InvolvedObject {
    /// Kind, such as Pod.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub kind: String,
    /// Name in the event's namespace.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub name: String,
    /// uid, where the reporter knew it.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub uid: String,
}

impl Object for Event {}
impl Object for InvolvedObject {}
impl Object for Series {}
