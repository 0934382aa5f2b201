//! What runs inside the pods of wsman: fills a workspace with its content, saves it, and moves trees.

pub mod archive;
pub mod beneath;
pub mod cli;
pub mod path;
pub mod staging;
pub mod tree;
pub mod walk;
