//! The parts of the Lease that replicas share.

use jiff::Timestamp;
use serde::Deserialize;

use super::Meta;
use super::lenient::{self, Object};

/// A Lease.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Lease {
    /// Name and version.
    #[serde(deserialize_with = "lenient::any")]
    pub metadata: Meta,
    #[serde(deserialize_with = "lenient::any")]
    pub spec: LeaseSpec,
}

/// The holder of a Lease, and since when.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    /// Empty without a holder.
    #[serde(deserialize_with = "lenient::any")]
    pub holder_identity: String,
    /// How long others must wait after the last renewal.
    #[serde(deserialize_with = "lenient::any")]
    pub lease_duration_seconds: Option<i64>,
    /// When the holder took it, by the holder's clock.
    #[serde(deserialize_with = "lenient::any")]
    pub acquire_time: Option<Timestamp>,
    /// The last renewal, by the holder's clock.
    #[serde(deserialize_with = "lenient::any")]
    pub renew_time: Option<Timestamp>,
    /// How often the holder changed.
    #[serde(deserialize_with = "lenient::any")]
    pub lease_transitions: Option<i64>,
}

impl Object for Lease {}
impl Object for LeaseSpec {}

impl super::Object for Lease {
    fn meta(&self) -> &Meta {
        &self.metadata
    }
}
