//! Sessions: gangs of pods on pools of machines. Pure: requests and objects in, plans, statuses and decisions out
//! (docs/protocol.md#sessions).

pub mod admission;
pub mod bus_message;
pub mod decide;
pub mod filter;
pub mod marks;
pub mod member;
pub mod noun;
pub mod packed;
pub mod plan;
pub mod pools;
pub mod queue;
pub mod request;
pub mod rules;
pub mod status;
pub mod step;
pub mod stop;
pub mod update;
pub mod view;
