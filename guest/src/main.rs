//! Runs the command that the arguments name and maps its result to an exit code.

fn main() -> std::process::ExitCode {
    wsman_guest::cli::main()
}
