//! The parts of a Service that tell whose it is.

use serde::Deserialize;

use super::Meta;
use super::lenient::{self, Object};

/// A Service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Service {
    /// Name and owners.
    #[serde(deserialize_with = "lenient::any")]
    pub metadata: Meta,
}

impl Object for Service {}
