//! The command line.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::archive::Limits;
use crate::hold::{self, ANNOTATION};
use crate::tree;
use crate::{install, ports};

/// Fills a workspace with its content, saves it, moves trees, and holds containers.
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
    /// Waits until it is released, then runs a command in its place, or succeeds without one.
    Hold {
        /// Where the release is, which is kept for restarts of the container [default: /run/wsman-hold].
        #[arg(long)]
        dir: Option<PathBuf>,
        /// Annotations of the pod as the downward API writes them: an annotation releases, too.
        #[arg(long)]
        file: Option<PathBuf>,
        /// The annotation in that file.
        #[arg(long, default_value = ANNOTATION)]
        key: String,
        /// The command and its arguments.
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Releases what holds in this container; once is enough.
    Release {
        /// Where the release is [default: /run/wsman-hold].
        #[arg(long)]
        dir: Option<PathBuf>,
        /// A variable for the command that is held.
        #[arg(long, value_name = "NAME=VALUE")]
        env: Vec<OsString>,
    },
    /// Copies this program to a path, for a container of another image.
    Install { path: PathBuf },
    /// Succeeds when something listens on each of these TCP ports.
    Ports {
        #[arg(required = true, value_parser = clap::value_parser!(u16).range(1..))]
        ports: Vec<u16>,
    },
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
    match args.command {
        #[cfg(feature = "content")]
        Command::Content(command) => {
            raise_open_files();
            crate::content::run(command)
        }
        Command::Tree(command) => {
            raise_open_files();
            tree(command)
        }
        // The command has the limits of its container.
        Command::Hold {
            dir,
            file,
            key,
            command,
        } => hold::hold(&hold::directory(dir), file.as_deref(), &key, &command),
        Command::Release { dir, env } => match hold::release(&hold::directory(dir), &env) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => {
                eprintln!("wsman-guest: it was released before");
                ExitCode::SUCCESS
            }
            Err(error) => failed(&error),
        },
        Command::Install { path } => match install::install(&path) {
            Ok(_) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("wsman-guest: cannot install to {}: {error}", path.display());
                ExitCode::FAILURE
            }
        },
        Command::Ports { ports } => closed(&ports),
    }
}

fn closed(ports: &[u16]) -> ExitCode {
    match ports::closed(ports) {
        Ok(closed) if closed.is_empty() => ExitCode::SUCCESS,
        Ok(closed) => {
            let list: Vec<_> = closed.iter().map(u16::to_string).collect();
            eprintln!("wsman-guest: nothing listens on {}", list.join(", "));
            ExitCode::FAILURE
        }
        Err(error) => failed(&error),
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

fn failed(error: &dyn std::error::Error) -> ExitCode {
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
