//! What arrives on the port, byte by byte: each form of a call is refused for the same reasons, in the same words.

mod arrival;
mod enums;
mod hosts;
mod messages;
mod secrets;
