//! Compiles the descriptions beside it without an installed protoc: messages and services (tonic), proto3 JSON (pbjson),
//! codecs, and the descriptor set that gRPC reflection serves.

use std::path::PathBuf;

use heck::ToUpperCamelCase;
use protox::prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

/// What reads and writes a message in this crate, rather than in the one that uses it.
const CODEC: &str = "crate::wire::Codec";

/// What others serve: wsman calls it, and its own descriptors do not have it.
const CALLED: [&str; 1] = ["wsdaemon.proto"];

/// What is served and known under names of others.
const OPERATIONS: &str = "google/longrunning/operations.proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=.");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(protos()?)?;
    let files = compiler.file_descriptor_set();
    // Options of our own are kept only in this form.
    let descriptors = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("descriptors.bin"), &descriptors)?;
    let pool = compiler.descriptor_pool();
    std::fs::write(out.join("calls.rs"), calls(&pool))?;
    let mut called = protox::Compiler::new(["."])?;
    called.include_source_info(true).include_imports(true);
    called.open_files(CALLED)?;
    let of_others = called.descriptor_pool();
    let messages = [
        wire(&pool, |name| !name.starts_with("google/protobuf/")),
        wire(&of_others, |name| CALLED.contains(&name)),
    ];
    std::fs::write(out.join("wire.rs"), messages.concat())?;
    tonic_prost_build::configure()
        .build_server(false)
        .codec_path(CODEC)
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .btree_map(".")
        .compile_fds(files.clone())?;
    // The servers answer with statuses that are encoded already.
    let served = out.join("served");
    std::fs::create_dir_all(&served)?;
    let mut servers = tonic_prost_build::configure()
        .build_client(false)
        .codec_path(CODEC)
        .out_dir(served)
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .extern_path(".wsman", "crate::wsman")
        .extern_path(".contentservice", "crate::contentservice")
        .extern_path(".registryfacade", "crate::registryfacade")
        .extern_path(".google.longrunning", "crate::google::longrunning")
        .extern_path(".google.rpc", "crate::google::rpc")
        .extern_path(".grpc", "crate::grpc");
    for name in ["GetWorkspaces", "DescribeWorkspace", "Subscribe"] {
        servers = servers.extern_path(
            format!(".wsman.{name}Response"),
            format!("crate::answers::{name}Response"),
        );
    }
    servers.compile_fds(files)?;
    // With servers, for tests.
    let clients = out.join("called");
    std::fs::create_dir_all(&clients)?;
    tonic_prost_build::configure()
        .codec_path(CODEC)
        .out_dir(clients)
        .extern_path(".contentservice", "crate::contentservice")
        .compile_fds(called.file_descriptor_set())?;
    pbjson_build::Builder::new()
        .btree_map(["."])
        .register_descriptors(&descriptors)?
        .build(&[".wsman", ".contentservice"])?;
    Ok(())
}

/// The descriptions of what is served, by their names.
fn protos() -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(".")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_ours = name.ends_with(".proto") && !CALLED.contains(&name.as_str());
        names.extend(is_ours.then_some(name));
    }
    names.push(OPERATIONS.to_owned());
    names.sort();
    Ok(names)
}

/// Says of each request of a unary method which method takes it and what answers it: `impl Call for Request`. The names of
/// those that HTTP serves, too, are `UNARY`.
fn calls(pool: &DescriptorPool) -> String {
    let (mut text, mut names) = (String::new(), Vec::new());
    let grpc_only = pool.get_extension_by_name("wsman.options.v1.grpc_only");
    for service in pool.services() {
        let is_unary = |method: &MethodDescriptor| {
            !method.is_client_streaming() && !method.is_server_streaming()
        };
        let grpc_only = grpc_only
            .as_ref()
            .is_some_and(|option| service.options().has_extension(option));
        for method in service.methods().filter(is_unary) {
            let (request, answer) = (path(method.input()), path(method.output()));
            if !grpc_only {
                names.push(method.name().to_owned());
            }
            let method = format!("/{}/{}", service.full_name(), method.name());
            text.push_str(&format!(
                "impl super::Call for {request} {{\n    type Answer = {answer};\n    const METHOD: &str = {method:?};\n}}\n"
            ));
        }
    }
    text.push_str(&format!("pub const UNARY: &[&str] = &{names:?};\n"));
    text
}

/// Implements `Wire` for the messages of some files.
fn wire(pool: &DescriptorPool, is_wanted: impl Fn(&str) -> bool) -> String {
    let ours = pool.files().filter(|file| is_wanted(file.name()));
    let messages = ours.flat_map(|file| file.messages().collect::<Vec<_>>());
    messages
        .map(|message| format!("wire!({});\n", path(message)))
        .collect()
}

/// Returns the type of a message.
fn path(message: MessageDescriptor) -> String {
    // As prost names types: an acronym is a word.
    let name = message.name().to_upper_camel_case();
    match message.package_name() {
        "google.protobuf" => format!("::pbjson_types::{name}"),
        package => format!("crate::{}::{name}", package.replace('.', "::")),
    }
}
