//! The calls of sessions beside the lives that they start: logs, dry runs and what is refused.

mod dry_run;
mod logs;
mod operations;
