//! `wsman verify`: follows a deployment through the public API only and prints which guarantees its updates break.
//!
//! It works against any server of the protocol. A record of a run can be checked again, by the same rules.

pub mod bus;
pub mod consume;
mod filter;
pub mod record;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tonic::Status;

use super::client::bus_tail;
use super::client::connect::Connection;
use super::client::follow::is_passing;
use super::client::transport::Target;
use super::client::words::parse_duration;
use super::exit::{Exit, Failure, note};
use super::input;
use super::output::{Color, Format, Formats, Output, Piece};
use crate::amqp::tail::Source;
use crate::config::Broker;
use crate::history::{self, Channel, Counts, How, Saw, Violation};
use crate::tasks;
use consume::Consumer;
use record::Recorder;

/// Interval between two lists.
const EVERY: Duration = Duration::from_secs(5);
/// Every stream must know what a list has after this long.
const GRACE: Duration = Duration::from_secs(5);

/// Arguments of `wsman verify`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,

    /// Check the message bus as well, on a queue of its own: amqp://user:password@host:5672/vhost, or amqps://. Others on
    /// this machine can read command lines: use the environment or a file for passwords.
    #[arg(
        long,
        env = "WSMAN_AMQP_URL",
        hide_env_values = true,
        value_name = "URL"
    )]
    amqp: Option<String>,

    /// File with the URL of the message bus; wins over --amqp.
    #[arg(long, value_name = "FILE")]
    amqp_file: Option<PathBuf>,

    /// The exchange on the message bus.
    #[arg(long, value_name = "NAME", default_value = "wsman")]
    exchange: String,

    /// Updates of streams must be on the message bus after this long: a broker may be away for a while, and a
    /// daemon that died is replaced after 15 seconds.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "1m")]
    bus_within: Duration,

    /// A workspace that is STOPPING for longer than this is stuck: more than the limits of the deployment's configuration.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "2h")]
    stopping_within: Duration,

    /// End after this long, such as "10m" [default: at Ctrl-C].
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration, conflicts_with = "check")]
    duration: Option<Duration>,

    /// Record what is seen, one JSON object per line.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    record: Option<PathBuf>,

    /// Check such a record instead of a deployment.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,

    /// Output format.
    #[arg(short, long, value_parser = Formats::Report, default_value = "table")]
    output: Format,
}

/// The result of a run.
#[derive(Debug, Serialize)]
struct Summary {
    summary: Counts,
}

/// Follows a deployment, or reads a record, and prints the violations.
///
/// # Errors
/// If there is a violation, with exit code 1; if the server cannot be reached or the file cannot be read.
pub async fn run(args: Args) -> Result<(), Failure> {
    let mut out = Output::stdout(args.output.clone());
    let counts = match &args.check {
        Some(file) => check(file, limit(args.stopping_within), &mut out)?,
        None => Box::pin(follow(&args, &mut out)).await?,
    };
    summarize(counts, &mut out)?;
    match counts.violations {
        0 if counts.updates + counts.messages == 0 => {
            let seen = match counts.workspaces {
                0 => "no workspace was seen",
                _ => "workspaces were listed, but no update of one was seen",
            };
            let hint = "start or stop a workspace while it follows the deployment";
            Err(Failure::new(Exit::Failed, format!("nothing is verified: {seen}")).hint(hint))
        }
        0 => Ok(()),
        1 => Err(Failure::new(Exit::Failed, "1 violation")),
        count => Err(Failure::new(Exit::Failed, format!("{count} violations"))),
    }
}

/// A limit that is too long is none.
fn limit(within: Duration) -> SignedDuration {
    SignedDuration::try_from(within).unwrap_or(SignedDuration::MAX)
}

/// Checks a record.
fn check(path: &Path, limit: SignedDuration, out: &mut Output) -> Result<Counts, Failure> {
    let fault = |why: String| Failure::usage(format!("cannot read {}: {why}", path.display()));
    let mut checker = history::Checker::new(limit);
    for (number, line) in input::lines(path)?.enumerate() {
        let line = line?;
        let observation = history::read(&line)
            .map_err(|why| fault(format!("line {} is no observation: {why}", number + 1)))?;
        for violation in checker.observe(&observation) {
            print(&violation, out)?;
        }
    }
    for violation in checker.finish() {
        print(&violation, out)?;
    }
    Ok(checker.counts())
}

/// Follows a deployment until the time is up or Ctrl-C.
async fn follow(args: &Args, out: &mut Output) -> Result<Counts, Failure> {
    let connection = Connection::open(&args.target)?;
    let checker = history::Checker::new(limit(args.stopping_within));
    let recorder = Recorder::start(args.record.as_deref(), checker);
    let (recorder, mut violations) = recorder.map_err(|error| {
        let path = args.record.clone().unwrap_or_default();
        Failure::usage(format!("cannot write {}: {error}", path.display()))
    })?;
    let lister = Consumer {
        who: "list".to_owned(),
        server: args.target.host.clone(),
        client: connection.client(),
        filter: None,
        snapshot: false,
        recorder: recorder.clone(),
    };
    let failed = |status: Status| Failure::from_status(&status, &args.target.host);
    // Only later failures are retried.
    lister.list().await.map_err(failed)?;
    let bus = match reader(args, &lister) {
        Some(reader) => {
            let tail = reader.open().await.map_err(bus_tail::failure)?;
            Some(tasks::scoped(reader.follow(tail)))
        }
        None => None,
    };
    let bus_too = bus.as_ref().map_or("", |_| " and the message bus");
    note(&format!(
        "following {}{bus_too}; Ctrl-C ends it and prints the summary",
        args.target.host
    ));
    let end = args.duration.map(|duration| Instant::now() + duration);
    let mut watching = Box::pin(watch(&lister, end, args.bus_within));
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    let outcome = loop {
        tokio::select! {
            Some(violation) = violations.recv() => print(&violation, out)?,
            status = &mut watching => break status,
            _ = &mut interrupted => break None,
        }
    };
    drop((watching, bus));
    let counts = recorder.finish()?;
    while let Ok(violation) = violations.try_recv() {
        print(&violation, out)?;
    }
    match outcome {
        Some(status) => Err(failed(status)),
        None => Ok(counts),
    }
}

/// The consumer of the message bus, if one is configured.
fn reader(args: &Args, lister: &Consumer) -> Option<bus::Reader> {
    let broker = bus_tail::broker(args.amqp.clone(), args.amqp_file.as_deref())?;
    // A broker without TLS ignores the certificates of the server.
    let is_plain = matches!(&broker, Broker::Url(url) if url.starts_with("amqp:"));
    Some(bus::Reader {
        broker,
        tls: bus_tail::tls(&args.target).filter(|_| !is_plain),
        source: Source::Exchange {
            name: args.exchange.clone(),
            pattern: "#".to_owned(),
        },
        lister: Consumer {
            who: "bus".to_owned(),
            ..lister.clone()
        },
    })
}

/// Keeps two streams open and lists at intervals, until `end`, and then until the bus has every update, for at most
/// `within`. Returns an error that a retry cannot fix.
async fn watch(lister: &Consumer, end: Option<Instant>, within: Duration) -> Option<Status> {
    let recorder = &lister.recorder;
    let (ended, mut ends) = mpsc::channel(2);
    let start = |consumer: Consumer| {
        let ended = ended.clone();
        tasks::scoped(async move {
            // The receiver is gone only at the end.
            let _ = ended.send(consumer.follow().await).await;
        })
    };
    let _all = start(Consumer {
        who: "all".to_owned(),
        ..lister.clone()
    });
    let mut filtered = None;
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let over = async {
            match end {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            }
        };
        let last = tokio::select! {
            biased;
            status = ends.recv() => return status,
            () = over => true,
            _ = ticks.tick() => false,
        };
        match lister.list().await {
            Ok(listed) => {
                let until = Timestamp::now();
                if filtered.is_none()
                    && let Some(filter) = filter::draw(&listed)
                {
                    note(&format!(
                        "the second stream has the filter {}",
                        words(&filter)
                    ));
                    filtered = Some(start(Consumer {
                        who: "filtered".to_owned(),
                        filter: Some(filter),
                        snapshot: true,
                        ..lister.clone()
                    }));
                }
                tokio::time::sleep(GRACE).await;
                recorder.record("verify", settled(until, Channel::Stream));
                if last {
                    let owed = settled(until, Channel::Bus);
                    recorder.wait_for(&owed, within.saturating_sub(GRACE)).await;
                    recorder.record("verify", owed);
                } else {
                    let before = until.checked_sub(within).unwrap_or(Timestamp::MIN);
                    recorder.record("verify", settled(before, Channel::Bus));
                }
            }
            Err(status) if !is_passing(status.code()) => return Some(status),
            // An outage is no violation; the streams report it too.
            Err(_) => {}
        }
        if last {
            return None;
        }
    }
}

fn settled(until: Timestamp, channel: Channel) -> Saw {
    Saw::Settled {
        until: Some(until),
        channel: Some(channel),
    }
}

fn words(filter: &crate::proto::wsman::MetadataFilter) -> String {
    serde_json::to_string(filter).unwrap_or_default()
}

fn print(violation: &Violation, out: &mut Output) -> Result<(), Failure> {
    if !out.is_for_people() {
        return out.record(violation);
    }
    out.line([
        Piece::coloured(violation.kind.to_string(), Some(Color::Red)),
        Piece::from(format!(" {} on {}: ", violation.workspace, violation.who)),
        Piece::from(violation.why),
    ])?;
    let rows = violation.evidence.iter().map(|seen| {
        let how = match seen.how {
            How::Update => "received",
            How::Listed => "listed",
        };
        vec![
            Piece::from(seen.at.to_string()),
            Piece::from(format!("{} {how}", seen.who)),
            Piece::from(seen.state.phase.as_str_name()),
            Piece::from(format!("v{}", seen.state.version)),
            Piece::from(format!("line {}", seen.line)),
        ]
    });
    out.rows("  ", rows.collect())
}

fn summarize(counts: Counts, out: &mut Output) -> Result<(), Failure> {
    if !out.is_for_people() {
        return out.record(&Summary { summary: counts });
    }
    let Counts {
        updates,
        messages,
        repeats,
        lists,
        workspaces,
        reconnects,
        violations,
    } = counts;
    out.line([Piece::from(format!(
        "{updates} updates, {messages} messages ({repeats} repeated) and {lists} lists of {workspaces} workspaces, \
         {reconnects} reconnects: {violations} violations"
    ))])
}
