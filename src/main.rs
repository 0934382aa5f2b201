//! Parses the arguments, runs the verb, maps its result to an exit code.

/// Ten thousand streams wake faster with it than with the C library's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    wsman::cli::main()
}
