//! Sessions: gangs of pods on pools of machines. Pure: requests and objects in, plans, statuses and decisions out
//! (docs/protocol.md#sessions).

pub mod admission;
pub mod bus_message;
pub mod capacity;
pub mod decide;
pub mod ending;
pub mod filter;
pub mod loadtest;
pub mod logs;
pub mod marks;
pub mod member;
pub mod noun;
pub mod operations;
pub mod outcome;
pub mod packed;
pub mod plan;
pub mod pools;
pub mod position;
pub mod queue;
pub mod request;
pub mod rules;
pub mod status;
pub mod stop;
pub mod survey;
pub mod update;
pub mod view;
pub mod writes;

/// The noun. Nothing is kept beside the index.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sessions;
