//! Sessions: gangs of pods on pools of machines. Pure: requests and objects in, plans, statuses and decisions out
//! (docs/protocol.md#sessions).

pub mod admission;
pub mod marks;
pub mod member;
pub mod packed;
pub mod plan;
pub mod pools;
pub mod request;
pub mod rules;
pub mod status;
