//! The parts of a ConfigMap that wsman keeps in one.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Meta;
use super::lenient::{self, Object};

/// A ConfigMap.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigMap {
    /// Name, marks and owners.
    #[serde(deserialize_with = "lenient::any")]
    pub metadata: Meta,
    /// Texts by key.
    #[serde(deserialize_with = "lenient::any")]
    pub data: BTreeMap<String, String>,
}

impl Object for ConfigMap {}
