//! The generated wire types behind one door, and the descriptors that reflection serves.
//!
//! JSON follows the proto3 mapping (lowerCamelCase names, enums by name); both spellings of a field are read.

pub mod encoded;
pub mod method;

/// Package `wsman`: the workspace manager protocol.
#[allow(missing_docs, unreachable_pub, clippy::all, deprecated)]
pub mod wsman {
    tonic::include_proto!("wsman");
    include!(concat!(env!("OUT_DIR"), "/wsman.serde.rs"));
}

/// Package `contentservice`: what fills a workspace.
#[allow(missing_docs, unreachable_pub, clippy::all, deprecated)]
pub mod contentservice {
    tonic::include_proto!("contentservice");
    include!(concat!(env!("OUT_DIR"), "/contentservice.serde.rs"));
}

/// Package `registryfacade`: what a registry facade asks.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod registryfacade {
    tonic::include_proto!("registryfacade");
}

/// The services as they are served: answers that hold statuses are those of [`encoded`].
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod served {
    include!(concat!(env!("OUT_DIR"), "/served/wsman.rs"));
    include!(concat!(env!("OUT_DIR"), "/served/registryfacade.rs"));
}

/// The encoded `FileDescriptorSet` of everything above.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
