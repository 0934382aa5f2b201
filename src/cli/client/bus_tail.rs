//! `bus-tail`: prints messages of the bus, as a consumer gets them.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::follow::BACKOFF;
use super::transport::Target;
use super::{encode, words};
use crate::amqp::connect::Fault;
use crate::amqp::tail::{self, Delivery, Source, Tail};
use crate::cli::exit::{Exit, Failure, note};
use crate::cli::output::{Output, Piece};
use crate::cli::{alive, input};
use crate::config::{Broker, Tls};
use crate::proto::wsman::WorkspaceStatus;

/// Arguments of `bus-tail`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The broker: amqp://user:password@host:5672/vhost, or amqps://. Others on this machine can read command lines:
    /// use the environment or a file for passwords.
    #[arg(
        long,
        env = "WSMAN_AMQP_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    url: Option<String>,

    /// File with the URL; wins over --url.
    #[arg(long, value_name = "FILE")]
    url_file: Option<PathBuf>,

    /// The exchange.
    #[arg(long, value_name = "NAME", default_value = "wsman")]
    exchange: String,

    /// Which routing keys: `*` is any one word, `#` any number of words.
    #[arg(
        short = 'k',
        long,
        value_name = "PATTERN",
        default_value = "*.*.updates"
    )]
    routing_key: String,

    /// End after this many messages.
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// End with 6 when the connection is lost, and with 1 if there is no exchange.
    #[arg(long)]
    no_reconnect: bool,

    /// Print owner tokens (JSON and YAML).
    #[arg(long)]
    show_token: bool,
}

/// Prints messages until Ctrl-C, over lost connections. Like a watch, it fails if the first connection fails.
pub(super) async fn run(args: Args, target: &Target, out: &mut Output) -> Result<(), Failure> {
    if let Some(file) = &args.url_file {
        input::check(file, input::SMALL)?;
    }
    let Some(broker) = broker(args.url, args.url_file.as_deref()) else {
        return Err(Failure::usage(
            "which broker? Give --url, --url-file or WSMAN_AMQP_URL",
        ));
    };
    let tls = tls(target);
    let exchange = args.exchange.clone();
    let source = Source::Exchange {
        name: args.exchange,
        pattern: args.routing_key,
    };
    let mut left = args.count.unwrap_or(u64::MAX);
    let mut failures = 0;
    let mut connected = false;
    // The last fault that was printed: a lasting fault is printed once.
    let mut printed = String::new();
    while left > 0 {
        let waiting = || match printed.is_empty() {
            true => "connecting to the broker".to_owned(),
            false => format!("waiting, because {printed}"),
        };
        let opening = tail::open(&broker, tls.as_ref(), "wsman client bus-tail", &source);
        let fault = match alive::during(waiting, opening).await {
            Ok(mut tail) => {
                if !printed.is_empty() {
                    note("reconnected");
                }
                printed.clear();
                connected = true;
                loop {
                    if left == 0 {
                        return Ok(());
                    }
                    let waiting = || format!("waiting for messages of {exchange}");
                    match alive::during(waiting, next(&mut tail)).await {
                        Ok(delivery) => print(delivery, args.show_token, out)?,
                        Err(fault) => break fault,
                    }
                    failures = 0;
                    left -= 1;
                }
            }
            Err(fault) => fault,
        };
        let is_missing = fault.is_missing();
        connected |= is_missing;
        if args.no_reconnect || !(is_missing || connected && !fault.is_refusal) {
            return Err(failure(fault));
        }
        if printed != fault.why {
            note(&match is_missing {
                true => format!("there is no exchange {exchange} yet; waiting for it"),
                false => format!("connection lost: {}; reconnecting", fault.why),
            });
            printed.clone_from(&fault.why);
        }
        let pause = tokio::time::sleep(BACKOFF.jittered(failures));
        failures += 1;
        alive::during(|| format!("waiting, because {printed}"), pause).await;
    }
    Ok(())
}

/// The next message, acknowledged.
async fn next(tail: &mut Tail) -> Result<Delivery, Fault> {
    let delivery = tail.next().await?;
    delivery.ack().await?;
    Ok(delivery)
}

/// The broker of the arguments; a file wins.
pub(in crate::cli) fn broker(url: Option<String>, file: Option<&Path>) -> Option<Broker> {
    let file = file.map(|file| Broker::UrlFile(text(file)));
    file.or_else(|| url.map(Broker::Url))
}

/// The certificates of the server, which are also used for its broker.
pub(in crate::cli) fn tls(target: &Target) -> Option<Tls> {
    let path = |path: &Option<PathBuf>| path.as_deref().map(text).unwrap_or_default();
    let given = target.ca.is_some() || target.cert.is_some();
    given.then(|| Tls {
        ca: path(&target.ca),
        cert: path(&target.cert),
        key: path(&target.key),
    })
}

fn print(delivery: Delivery, show_token: bool, out: &mut Output) -> Result<(), Failure> {
    if !out.is_for_people() {
        return out.record(&record(delivery, show_token));
    }
    let status: Option<WorkspaceStatus> = serde_json::from_slice(&delivery.body).ok();
    let header = |name: &str| delivery.headers.get(name).cloned().unwrap_or_default();
    let phase = match &status {
        Some(status) => words::phase_piece(status, 12),
        None => Piece::from(format!("{:12}", header("phase"))),
    };
    let message = status.map(|status| status.message).unwrap_or_default();
    out.line([
        Piece::from(format!("{}  ", words::rfc3339(Timestamp::now()))),
        Piece::from(format!("{:36}  ", header("instanceId"))),
        phase,
        Piece::from(format!("  {:10}  ", format!("v{}", header("version")))),
        Piece::from(format!("{}  {message}", delivery.routing_key)),
    ])
}

fn record(delivery: Delivery, show_token: bool) -> Value {
    let status = match serde_json::from_slice(&delivery.body) {
        Ok(status) => encode::status(&status, show_token),
        // Perhaps of a newer publisher: printed unchanged.
        Err(_) => {
            let mut status = serde_json::from_slice(&delivery.body).unwrap_or(Value::Null);
            let token = status.pointer_mut("/auth/ownerToken");
            if let Some(token) = token.filter(|_| !show_token) {
                *token = words::HIDDEN.into();
            }
            status
        }
    };
    json!({
        "routing_key": delivery.routing_key,
        "message_id": delivery.message_id,
        "headers": delivery.headers,
        "status": status,
    })
}

/// Returns the failure, with the exit code of its cause.
pub(in crate::cli) fn failure(fault: Fault) -> Failure {
    let exit = match fault.is_refusal {
        true => Exit::Failed,
        false => Exit::Unavailable,
    };
    Failure::new(exit, fault.why)
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
