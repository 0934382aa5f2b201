//! Sets up the log: text for a terminal, JSON for everything else, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts the log. `RUST_LOG` wins over `verbose`.
pub fn init(verbose: bool, json: Option<bool>) {
    // Libraries stay at info: at TRACE some of them log whole requests, and requests hold secrets.
    let default = if verbose {
        "info,wsman=debug"
    } else {
        "info,kube_client=warn,rustls=warn"
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // Whatever is asked for: these log credentials, and messages with the tokens in them.
    let quiet = ["lapin=off", "amq_protocol_tcp=off"];
    let quiet = quiet.iter().filter_map(|directive| directive.parse().ok());
    let filter = quiet.fold(filter, EnvFilter::add_directive);
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(verbose);
    // A second call, as tests make, changes nothing.
    let _ = if json.unwrap_or_else(|| !std::io::stderr().is_terminal()) {
        log.json().flatten_event(true).try_init()
    } else {
        log.with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
            .try_init()
    };
}
