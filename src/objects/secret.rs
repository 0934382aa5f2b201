//! The parts of a Secret that show its owner and whether a value is in it.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::Meta;
use super::lenient::{self, Object};

/// A Secret.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Secret {
    /// Name and owners.
    #[serde(deserialize_with = "lenient::any")]
    pub metadata: Meta,
    /// Values in base64.
    #[serde(deserialize_with = "lenient::any")]
    pub data: BTreeMap<String, String>,
}

/// Without the values.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secret")
            .field("metadata", &self.metadata)
            .field("keys", &self.data.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl Object for Secret {}
