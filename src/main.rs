//! Parses the arguments, runs the verb, maps its result to an exit code.

fn main() -> std::process::ExitCode {
    wsman::cli::main()
}
