//! The wire types: the generated ones of the crate `proto/`, and what their descriptors say.

pub use wsman_proto::{
    DESCRIPTORS, answers, call, contentservice, encoded, google, grpc, registryfacade, served,
    wire, wsdaemon, wsman,
};

pub mod check;
pub mod duplicates;
pub mod method;
pub mod named;
pub mod plain;
pub mod schema;
