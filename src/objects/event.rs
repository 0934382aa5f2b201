//! The parts of a Kubernetes Event that explain a pod.

use jiff::Timestamp;
use serde::Deserialize;

use super::Meta;
use super::lenient::{self, Object};

/// An event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Event {
    /// Name and version.
    #[serde(deserialize_with = "lenient::any")]
    pub metadata: Meta,
    /// What it is about.
    #[serde(deserialize_with = "lenient::any")]
    pub involved_object: InvolvedObject,
    /// CamelCase reason, such as FailedMount.
    #[serde(deserialize_with = "lenient::any")]
    pub reason: String,
    /// Text for people.
    #[serde(deserialize_with = "lenient::any")]
    pub message: String,
    /// Normal or Warning.
    #[serde(rename = "type", deserialize_with = "lenient::any")]
    pub kind: String,
    /// When it was last seen.
    #[serde(deserialize_with = "lenient::any")]
    pub last_timestamp: Option<Timestamp>,
}

/// What an event is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InvolvedObject {
    /// Kind, such as Pod.
    #[serde(deserialize_with = "lenient::any")]
    pub kind: String,
    /// Name in the event's namespace.
    #[serde(deserialize_with = "lenient::any")]
    pub name: String,
    /// uid, where the reporter knew it.
    #[serde(deserialize_with = "lenient::any")]
    pub uid: String,
}

impl Object for Event {}
impl Object for InvolvedObject {}
