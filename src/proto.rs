//! The generated wire types, and the descriptors for reflection.
//!
//! JSON follows the proto3 mapping (lowerCamelCase names, enums by name); both spellings of a field are read.

pub mod answers;
pub mod call;
pub mod check;
pub mod duplicates;
pub mod encoded;
pub mod method;
pub mod plain;
pub mod schema;

/// Package `wsman`: the workspace manager protocol.
#[allow(unreachable_pub, clippy::all, deprecated)]
pub mod wsman {
    tonic::include_proto!("wsman");
    include!(concat!(env!("OUT_DIR"), "/wsman.serde.rs"));

    /// Package `wsman.inspect`: what a daemon knows and will do.
    pub mod inspect {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("wsman.inspect.v1");
            include!(concat!(env!("OUT_DIR"), "/wsman.inspect.v1.serde.rs"));
        }
    }
}

/// Package `contentservice`: initializers and content.
#[allow(unreachable_pub, clippy::all, deprecated)]
pub mod contentservice {
    tonic::include_proto!("contentservice");
    include!(concat!(env!("OUT_DIR"), "/contentservice.serde.rs"));
}

/// Package `registryfacade`: image specs.
#[allow(unreachable_pub, clippy::all)]
pub mod registryfacade {
    tonic::include_proto!("registryfacade");
}

/// The services as they are served: responses with statuses are those of [`answers`].
#[allow(unreachable_pub, clippy::all)]
pub mod served {
    include!(concat!(env!("OUT_DIR"), "/served/wsman.rs"));
    include!(concat!(env!("OUT_DIR"), "/served/registryfacade.rs"));
    include!(concat!(env!("OUT_DIR"), "/served/wsman.inspect.v1.rs"));
}

/// The encoded `FileDescriptorSet` of everything above.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
