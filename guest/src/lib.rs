//! What runs inside the pods of wsman: fills a workspace with its content, saves it, moves trees, and holds containers.

pub mod archive;
pub mod beneath;
pub mod cli;
pub mod hold;
pub mod install;
pub mod path;
pub mod ports;
pub mod staging;
pub mod tree;
pub mod walk;

#[cfg(feature = "content")]
pub mod content;
#[cfg(feature = "content")]
pub mod data;
#[cfg(feature = "content")]
pub mod git;
#[cfg(feature = "content")]
pub mod init;
#[cfg(feature = "content")]
pub mod outcome;
#[cfg(feature = "content")]
pub mod plan;
#[cfg(feature = "content")]
pub mod request;
#[cfg(feature = "content")]
pub mod save;
