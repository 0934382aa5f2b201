//! `wsman generate`: prints files for other tools, such as JSON schemas for editors.

use std::io::{self, Write};

use anyhow::Context;

use super::exit::Failure;
use crate::config;
use crate::workspaces::request;

/// Arguments of `wsman generate`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Clone, Copy, Debug, clap::Subcommand)]
enum What {
    /// The JSON Schema of the configuration.
    ConfigSchema,
    /// The JSON Schema of a start request, as `wsman render` and `wsman client start -f` read it.
    WsspecSchema,
}

/// Prints a schema, without a configuration.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let schema = match args.what {
        What::ConfigSchema => config::schema(),
        What::WsspecSchema => request::schema(),
    };
    let text = serde_json::to_string_pretty(&schema).context("cannot encode")?;
    Ok(io::stdout().write_all(format!("{text}\n").as_bytes())?)
}
