//! The parts of a Service that show its owner and its ports.

use serde::{Deserialize, Serialize};

use super::Meta;
use super::lenient::{self, Object};

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Name and owners.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub metadata: Meta,
    /// The spec.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub spec: ServiceSpec,
}

/// The spec of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServiceSpec {
    /// Its address in the cluster; "None" if it is headless.
    #[serde(
        rename = "clusterIP",
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub cluster_ip: String,
    /// Its ports, in order.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub ports: Vec<ServicePort>,
}

/// One port of a Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ServicePort {
    /// Unique name.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub name: String,
    /// Number.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub port: i64,
    /// Port of the pod; 0 if it is a name.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub target_port: i64,
    /// Application protocol, such as https; empty if unset.
    #[serde(
        deserialize_with = "lenient::any",
        skip_serializing_if = "lenient::is_absent"
    )]
    pub app_protocol: String,
}

impl ServiceSpec {
    /// Whether the Service has no cluster IP.
    pub fn is_headless(&self) -> bool {
        self.cluster_ip == "None"
    }
}

impl Object for Service {}
impl Object for ServiceSpec {}
impl Object for ServicePort {}
