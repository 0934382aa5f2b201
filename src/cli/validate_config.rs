//! `wsman validate-config`: tells everything that is wrong with a configuration.

use std::io::Write;
use std::path::PathBuf;

use super::config;
use super::exit::Failure;

/// Options of `wsman validate-config`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Says that a configuration is valid.
///
/// # Errors
/// Every problem with its path; exit code 2.
pub fn run(args: &Args) -> Result<(), Failure> {
    config::load(&args.config)?;
    writeln!(std::io::stdout(), "{} is valid", args.config.display())?;
    Ok(())
}
