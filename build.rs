//! Compiles `proto/` without an installed protoc: messages and services (tonic), proto3 JSON (pbjson), and the
//! descriptor set that gRPC reflection serves. Beside that it finds out which commit this is.

use std::path::{Path, PathBuf};
use std::process::Command;

use heck::ToUpperCamelCase;
use protox::prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rustc-env=WSMAN_COMMIT={}", commit());
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(protos()?)?;
    let files = compiler.file_descriptor_set();
    // Options of our own are kept only in this form.
    let descriptors = compiler.encode_file_descriptor_set();
    std::fs::write(out.join("descriptors.bin"), &descriptors)?;
    std::fs::write(out.join("calls.rs"), calls(&compiler.descriptor_pool()))?;
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
            format!("crate::proto::answers::{name}Response"),
        );
    }
    servers.compile_fds(files)?;
    pbjson_build::Builder::new()
        .btree_map(["."])
        .register_descriptors(&descriptors)?
        .build(&[".wsman", ".contentservice"])?;
    Ok(())
}

/// The files of `proto/`, by their names in it.
fn protos() -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir("proto")? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.ends_with(".proto").then_some(name));
    }
    names.sort();
    Ok(names)
}

/// Says of each request of a unary method which method takes it and what answers it: `impl Call for Request`. The names of
/// those that HTTP serves, too, are `UNARY`.
fn calls(pool: &DescriptorPool) -> String {
    let (mut text, mut names) = (String::new(), Vec::new());
    let grpc_only = pool.get_extension_by_name("wsman.options.v1.grpc_only");
    let path = |message: MessageDescriptor| {
        let module = message.package_name().replace('.', "::");
        // As prost names types: an acronym is a word.
        format!(
            "crate::proto::{module}::{}",
            message.name().to_upper_camel_case()
        )
    };
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

/// The commit that is built: as WSMAN_COMMIT says, or git, or "unknown" where there is neither, as in an archive.
///
/// Only a release build is made again for a commit that changes nothing else. A debug build keeps the commit of the
/// first one, and says that it is a debug build.
fn commit() -> String {
    println!("cargo:rerun-if-env-changed=WSMAN_COMMIT");
    if let Some(commit) = std::env::var("WSMAN_COMMIT").ok().filter(|c| !c.is_empty()) {
        return commit.chars().filter(|c| !c.is_control()).collect();
    }
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    // Sources that lie in somebody else's repository are not of its commit.
    let is_ours = git(&["rev-parse", "--show-toplevel"]).is_some_and(|top| {
        let (top, here) = (
            Path::new(&top).canonicalize(),
            Path::new(&here).canonicalize(),
        );
        matches!((top, here), (Ok(top), Ok(here)) if top == here)
    });
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| is_ours) else {
        return "unknown".to_owned();
    };
    if !release {
        return format!("{commit}, debug build");
    }
    let mut watched = vec!["HEAD".to_owned(), "packed-refs".to_owned()];
    watched.extend(git(&["symbolic-ref", "-q", "HEAD"]));
    for name in watched {
        let path = git(&["rev-parse", "--git-path", &name]);
        if let Some(path) = path.filter(|path| Path::new(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    commit
}

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let text = text.trim();
    (output.status.success() && !text.is_empty()).then(|| text.to_owned())
}
