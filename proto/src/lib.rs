//! The messages and services of wsman, generated from the descriptions beside this crate, and the descriptors that
//! reflection serves. They are a crate so that they are compiled beside others, and once.
//!
//! JSON follows the proto3 mapping (lowerCamelCase names, enums by name); both spellings of a field are read.

pub mod answers;
pub mod call;
pub mod encoded;
pub mod wire;

/// Package `wsman`: the workspace manager protocol.
#[allow(unreachable_pub, clippy::all, deprecated)]
pub mod wsman {
    tonic::include_proto!("wsman");
    include!(concat!(env!("OUT_DIR"), "/wsman.serde.rs"));

    /// Package `wsman.backups`: what was saved of workspaces.
    pub mod backups {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("wsman.backups.v1");
            include!(concat!(env!("OUT_DIR"), "/wsman.backups.v1.serde.rs"));
        }
    }

    /// Package `wsman.inspect`: what a daemon knows and is about to do.
    pub mod inspect {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("wsman.inspect.v1");
            include!(concat!(env!("OUT_DIR"), "/wsman.inspect.v1.serde.rs"));
        }
    }

    /// Package `wsman.sessions`: gangs of pods on pools of machines.
    pub mod sessions {
        /// Version 1.
        pub mod v1 {
            tonic::include_proto!("wsman.sessions.v1");
            include!(concat!(env!("OUT_DIR"), "/wsman.sessions.v1.serde.rs"));
        }
    }
}

/// Package `contentservice`: what fills a workspace.
#[allow(unreachable_pub, clippy::all, deprecated)]
pub mod contentservice {
    tonic::include_proto!("contentservice");
    include!(concat!(env!("OUT_DIR"), "/contentservice.serde.rs"));
}

/// Package `registryfacade`: what a registry facade asks.
#[allow(unreachable_pub, clippy::all)]
pub mod registryfacade {
    tonic::include_proto!("registryfacade");
}

/// Packages of Google's that services here speak.
#[allow(unreachable_pub, clippy::all)]
pub mod google {
    /// Package `google.longrunning`: operations that take longer than a call.
    pub mod longrunning {
        tonic::include_proto!("google.longrunning");
    }

    /// Package `google.rpc`: errors.
    pub mod rpc {
        tonic::include_proto!("google.rpc");
    }
}

/// Packages of gRPC's benchmarks.
#[allow(unreachable_pub, clippy::all)]
pub mod grpc {
    /// Package `grpc.testing`.
    pub mod testing {
        /// Package `grpc.testing.benchmarking`.
        pub mod benchmarking {
            /// Package `grpc.testing.benchmarking.scheduling`: starts benchmarks.
            pub mod scheduling {
                /// Version 1.
                pub mod v1 {
                    tonic::include_proto!("grpc.testing.benchmarking.scheduling.v1");
                }
            }
        }
    }
}

/// Package `wsdaemon`: the daemon of each of Gitpod's nodes.
#[allow(unreachable_pub, clippy::all)]
pub mod wsdaemon {
    include!(concat!(env!("OUT_DIR"), "/called/wsdaemon.rs"));
}

/// The services as they are served: answers that hold statuses are those of [`answers`].
#[allow(unreachable_pub, clippy::all)]
pub mod served {
    include!(concat!(env!("OUT_DIR"), "/served/wsman.rs"));
    include!(concat!(env!("OUT_DIR"), "/served/registryfacade.rs"));
    include!(concat!(env!("OUT_DIR"), "/served/wsman.inspect.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/served/wsman.backups.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/served/wsman.sessions.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/served/google.longrunning.rs"));
    include!(concat!(
        env!("OUT_DIR"),
        "/served/grpc.testing.benchmarking.scheduling.v1.rs"
    ));
}

/// The encoded `FileDescriptorSet` of everything that is served.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
