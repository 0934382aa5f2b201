//! What runs inside the pods of wsman: fills a workspace with its content, saves it, and moves trees.

pub mod archive;
pub mod beneath;
pub mod cli;
#[cfg(feature = "content")]
pub mod git;
#[cfg(feature = "content")]
pub mod outcome;
pub mod path;
#[cfg(feature = "content")]
pub mod plan;
pub mod staging;
#[cfg(feature = "content")]
pub mod store;
pub mod tree;
pub mod walk;
