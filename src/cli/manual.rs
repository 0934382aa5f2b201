//! `wsman completions` and `wsman man`: generated from the definitions of the arguments.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Command, ValueEnum};
use clap_complete::Shell;

use super::exit::{Exit, Failure};

/// Arguments of `wsman completions`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    shell: Known,
}

/// The shells with completions.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Known {
    /// source <(wsman completions bash)
    Bash,
    /// wsman completions zsh > ~/.zfunc/_wsman
    Zsh,
    /// wsman completions fish > ~/.config/fish/completions/wsman.fish
    Fish,
}

/// Arguments of `wsman man`.
#[derive(Debug, clap::Args)]
pub(super) struct Man {
    /// Folder for a page per command, such as ~/.local/share/man/man1 [default: print wsman(1)].
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Prints a completion script.
pub(super) fn completions(args: &Completions, mut command: Command) -> Result<(), Failure> {
    let shell = match args.shell {
        Known::Bash => Shell::Bash,
        Known::Zsh => Shell::Zsh,
        Known::Fish => Shell::Fish,
    };
    // Through memory: the generator reports a closed pipe as its own error.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "wsman", &mut script);
    Ok(io::stdout().write_all(&script)?)
}

/// Prints the page of the program, or writes all pages.
pub(super) fn man(args: &Man, command: Command) -> Result<(), Failure> {
    let Some(folder) = &args.folder else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command).render(&mut page)?;
        return Ok(io::stdout().write_all(&page)?);
    };
    let cannot = |error: io::Error| {
        Failure::new(
            Exit::Failed,
            format!("cannot write to {}: {error}", folder.display()),
        )
    };
    std::fs::create_dir_all(folder).map_err(cannot)?;
    clap_mangen::generate_to(command, folder).map_err(cannot)
}
