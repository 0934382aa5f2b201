//! A page of a list; an item that is no object reads as an empty one.

use serde::Deserialize;

use super::lenient;

/// A page.
#[derive(Debug, Deserialize)]
#[serde(default)]
pub struct List<T: Object> {
    /// Version and continuation.
    #[serde(deserialize_with = "lenient::any")]
    pub metadata: ListMeta,
    /// The objects.
    #[serde(deserialize_with = "lenient::any")]
    pub items: Vec<T>,
}

/// The metadata of a page.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// Version of the whole list.
    #[serde(deserialize_with = "lenient::any")]
    pub resource_version: String,
    /// Token of the next page; empty on the last.
    #[serde(rename = "continue", deserialize_with = "lenient::any")]
    pub continue_token: String,
}

impl lenient::Object for ListMeta {}

impl<T: Object> Default for List<T> {
    fn default() -> Self {
        Self {
            metadata: ListMeta::default(),
            items: Vec::new(),
        }
    }
}

/// A top-level object: anything with metadata.
pub trait Object: lenient::Object {
    /// Returns its metadata.
    fn meta(&self) -> &super::Meta;
}

impl Object for super::Pod {
    fn meta(&self) -> &super::Meta {
        &self.metadata
    }
}

impl Object for super::Node {
    fn meta(&self) -> &super::Meta {
        &self.metadata
    }
}

impl Object for super::Event {
    fn meta(&self) -> &super::Meta {
        &self.metadata
    }
}

impl Object for super::Service {
    fn meta(&self) -> &super::Meta {
        &self.metadata
    }
}

impl Object for super::ConfigMap {
    fn meta(&self) -> &super::Meta {
        &self.metadata
    }
}
