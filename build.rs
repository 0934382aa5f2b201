//! Compiles `proto/` without an installed protoc: messages and services (tonic), proto3 JSON (pbjson), and the
//! descriptor set that gRPC reflection serves.

use std::path::PathBuf;

use prost::Message;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files = protox::compile(["core.proto", "imagespec.proto"], ["proto"])?;
    let descriptors = files.encode_to_vec();
    std::fs::write(out.join("descriptors.bin"), &descriptors)?;
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .btree_map(".")
        .compile_fds(files)?;
    pbjson_build::Builder::new()
        .btree_map(["."])
        .register_descriptors(&descriptors)?
        .build(&[".wsman", ".contentservice"])?;
    Ok(())
}
