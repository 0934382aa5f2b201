//! Compiles `proto/` without an installed protoc: messages and services (tonic), proto3 JSON (pbjson), and the
//! descriptor set that gRPC reflection serves.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files = protox::compile(
        ["core.proto", "imagespec.proto", "inspect.proto"],
        ["proto"],
    )?;
    let descriptors = files.encode_to_vec();
    std::fs::write(out.join("descriptors.bin"), &descriptors)?;
    tonic_prost_build::configure()
        .build_server(false)
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .btree_map(".")
        .compile_fds(files.clone())?;
    // The servers answer with statuses that are encoded already.
    let served = out.join("served");
    std::fs::create_dir_all(&served)?;
    let mut servers = tonic_prost_build::configure()
        .build_client(false)
        .out_dir(served)
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .extern_path(".wsman", "crate::proto::wsman")
        .extern_path(".contentservice", "crate::proto::contentservice")
        .extern_path(".registryfacade", "crate::proto::registryfacade");
    for name in ["GetWorkspaces", "DescribeWorkspace", "Subscribe"] {
        servers = servers.extern_path(
            format!(".wsman.{name}Response"),
            format!("crate::proto::encoded::{name}Response"),
        );
    }
    servers.compile_fds(files)?;
    pbjson_build::Builder::new()
        .btree_map(["."])
        .register_descriptors(&descriptors)?
        .build(&[".wsman", ".contentservice"])?;
    Ok(())
}
