//! The command line.

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::archive::Limits;
use crate::tree::{self, TreeError};

/// Fills a workspace with its content, saves it, and moves trees.
#[derive(Parser)]
#[command(name = "wsman-guest", version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Fills a workspace with its content and saves it.
    #[cfg(feature = "content")]
    #[command(subcommand)]
    Content(crate::content::ContentCommand),
    /// Sends and receives a tree over a pipe.
    #[command(subcommand)]
    Tree(TreeCommand),
}

#[derive(Subcommand)]
enum TreeCommand {
    /// Writes DIR as a tar stream to stdout, and its hash, bytes and files to stderr.
    Send {
        dir: PathBuf,
        #[command(flatten)]
        limits: LimitArgs,
    },
    /// Extracts a tar stream from stdin into DIR and prints its hash, bytes and files.
    Receive {
        dir: PathBuf,
        /// What the SHA-256 of the stream must be.
        #[arg(long)]
        sha256: Option<String>,
        #[command(flatten)]
        limits: LimitArgs,
    },
}

#[derive(clap::Args)]
struct LimitArgs {
    /// How many bytes the files may hold together.
    #[arg(long, default_value_t = Limits::default().max_bytes)]
    max_bytes: u64,
    /// How many entries there may be.
    #[arg(long, default_value_t = Limits::default().max_files)]
    max_files: u64,
}

impl From<LimitArgs> for Limits {
    fn from(args: LimitArgs) -> Self {
        Limits {
            max_bytes: args.max_bytes,
            max_files: args.max_files,
        }
    }
}

/// Runs the command; 0 is success, 1 a failure and 2 a wrong command line.
pub fn main() -> ExitCode {
    #[cfg(feature = "content")]
    if let Some(code) = crate::content::askpass() {
        return code;
    }
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    raise_open_files();
    match args.command {
        #[cfg(feature = "content")]
        Command::Content(command) => crate::content::run(command),
        Command::Tree(command) => tree(command),
    }
}

fn tree(command: TreeCommand) -> ExitCode {
    let (result, to_stderr) = match command {
        TreeCommand::Send { dir, limits } => {
            (tree::send(&dir, io::stdout().lock(), &limits.into()), true)
        }
        TreeCommand::Receive {
            dir,
            sha256,
            limits,
        } => {
            let input = io::stdin().lock();
            (
                tree::receive(&dir, input, sha256.as_deref(), &limits.into()),
                false,
            )
        }
    };
    match result.map(|report| serde_json::to_string(&report).unwrap_or_default()) {
        Ok(line) if to_stderr => eprintln!("{line}"),
        Ok(line) => println!("{line}"),
        Err(error) => return failed(&error),
    }
    ExitCode::SUCCESS
}

fn failed(error: &TreeError) -> ExitCode {
    eprintln!("wsman-guest: {error}");
    ExitCode::FAILURE
}

/// A walk keeps one directory open per level, so as many as are allowed.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Without it only very deep trees fail, and say so.
    let _ = setrlimit(Resource::Nofile, limit);
}
