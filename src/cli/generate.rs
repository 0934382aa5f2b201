//! `wsman generate`: prints files for other tools: JSON schemas for editors, manifests for a cluster.

use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::Context;
use serde_json::{Value, json};

use super::config::{self as file, Content};
use super::exit::{Failure, note};
use super::manifests::Deployment;
use crate::config;
use crate::workspaces::request;

/// Arguments of `wsman generate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum What {
    /// The JSON Schema of the configuration.
    ConfigSchema,
    /// The JSON Schema of a start request, as `wsman render` and `wsman client start -f` read it.
    WsspecSchema,
    /// The Kubernetes objects that run wsman with a configuration, with least-privilege RBAC.
    Manifests(Manifests),
}

#[derive(Clone, Debug, clap::Args)]
struct Manifests {
    /// Configuration file (JSON); "-" for stdin.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Image of wsman.
    #[arg(long, value_name = "IMAGE")]
    image: String,
    /// How many pods run it; one of them leads.
    #[arg(long, value_name = "COUNT", default_value_t = 2)]
    replicas: u32,
    /// Form of the output.
    #[arg(short, long, value_enum, default_value = "yaml")]
    output: super::render::Output,
}

/// Prints what is asked for.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let schema = match &args.what {
        What::ConfigSchema => config::schema(),
        What::WsspecSchema => request::schema(),
        What::Manifests(args) => return manifests(args),
    };
    let text = serde_json::to_string_pretty(&schema).context("cannot encode")?;
    Ok(io::stdout().write_all(format!("{text}\n").as_bytes())?)
}

/// Prints the objects as one List. Of the files in the configuration only pod templates are read: the others are in
/// Secrets of the cluster, which are named on stderr.
fn manifests(args: &Manifests) -> Result<(), Failure> {
    let content = Content::read_templates(&args.config);
    let (settings, _) = content.settings_and_warnings()?;
    let (text, named) = content.named();
    let deployment = Deployment {
        image: &args.image,
        replicas: args.replicas,
        text,
        settings: &settings,
        named: &named,
        templates: content.files(),
    };
    let (objects, needed) = deployment.objects().map_err(|faults| {
        let name = file::name(&args.config);
        Failure::usage(format!("{name} does not work in a pod")).details(faults)
    })?;
    for needed in needed {
        let files = needed.files.join(", ");
        note(&format!("create Secret {} with {files}", needed.secret));
    }
    let list: Value = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    super::render::print(&list, args.output)
}
