//! A seeded run of mixed faults: two daemons on one real API server and one real broker, hundreds of workspaces being
//! started and stopped, subscribers and a consumer of the message bus that record what they are told. When the faults
//! have stopped and everything has settled, the record must violate nothing, everything must be off the bus, and the
//! daemons must have given back their memory.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "a run that cannot go on ends"
)]

mod broker;
mod daemon;
mod faults;
mod load;
mod support;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use wsman::cli::verify::consume::Consumer;
use wsman::cli::verify::record::Recorder;
use wsman::history::{self, Saw, Violation};
use wsman::proto::wsman::MetadataFilter;

use broker::Broker;
use daemon::Daemon;
use faults::{Side, Victims};
use load::{Load, Mode};
use support::proxy::{Link, Proxy};

/// Longest until all workspaces run, or all are gone.
const PATIENCE: Duration = Duration::from_secs(180);
/// No update for this long: everything has reached everybody.
const QUIET: Duration = Duration::from_secs(5);
/// What a daemon logs that did not wait for the bus any longer.
const UNCONFIRMED: &str = "whose STOPPED the message bus has not confirmed";

#[derive(Parser)]
struct Args {
    /// How long faults happen.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// What the run is drawn from [default: a random one].
    #[arg(long)]
    seed: Option<u64>,
    /// How many workspaces there are at a time.
    #[arg(long, default_value_t = 500)]
    workspaces: usize,
    /// What cargo passes to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chaos-{seed}"));
    std::fs::create_dir_all(&folder).unwrap();
    println!(
        "--seed {seed} --seconds {} --workspaces {}",
        args.seconds, args.workspaces
    );
    println!("history and logs: {}", folder.display());
    let mut rng = fastrand::Rng::with_seed(seed);

    let (server, cluster) = support::cluster::own_real("chaos").await.unwrap();
    let broker = Broker::start(&folder).await;
    let mut sides = Vec::new();
    for name in ["a", "b"] {
        let proxy = Proxy::before(&cluster).await;
        let daemon = Daemon::start(name, &proxy, &cluster.namespace, &broker.url_file, &folder);
        daemon.ready().await;
        let link = Link::to(daemon.addr.clone()).await;
        sides.push(Side {
            daemon,
            proxy,
            link,
        });
    }
    let file = folder.join("history.jsonl");
    let (recorder, mut violations) = Recorder::start(Some(&file)).unwrap();
    let mut consumers = JoinSet::new();
    sides
        .iter()
        .flat_map(|side| subscribers(side, &recorder))
        .for_each(|consumer| drop(consumers.spawn(consumer.follow())));

    let reader = broker.reader(lister("bus", &sides[0], &recorder));
    let tail = reader.open().await.unwrap();
    let _reading = AbortOnDropHandle::new(tokio::spawn(reader.follow(tail)));

    let clients = sides.iter().map(|side| side.daemon.client()).collect();
    let load = Load::start(args.workspaces, clients, &mut rng);
    load.reach(Mode::Fill, PATIENCE).await.unwrap();
    quiet(&recorder).await;
    let before: Vec<f64> = sides.iter().map(|side| side.daemon.resident()).collect();
    println!("{} workspaces run", args.workspaces);

    load.set(Mode::Churn);
    let time = Duration::from_secs(args.seconds);
    let victims = Victims {
        sides: &mut sides,
        server: &server,
        broker: &broker,
    };
    let happened = victims.rage(&mut rng, time).await;
    println!("the faults are over");
    for side in &sides {
        side.daemon.ready().await;
    }
    let mut faults = Vec::new();
    faults.extend(load.reach(Mode::Fill, PATIENCE).await.err());
    settle(&sides, &recorder).await;
    for (side, before) in sides.iter().zip(before) {
        let (name, now) = (side.daemon.name, side.daemon.resident());
        println!("memory of {name}: {before:.1} MB after the first load, now {now:.1} MB");
        if now > before * 1.1 {
            faults.push(format!("{name} keeps more than 10 % of memory"));
        }
    }
    faults.extend(load.reach(Mode::Empty, PATIENCE).await.err());
    settle(&sides, &recorder).await;

    for side in &mut sides {
        if !side.daemon.runs() {
            faults.push(format!("{} ended by itself", side.daemon.name));
        }
        side.daemon.terminate().await;
        let log = side.daemon.log();
        if log.contains(UNCONFIRMED) {
            faults.push(format!("{} let a pod go unconfirmed", side.daemon.name));
        }
    }
    while let Some(ended) = consumers.try_join_next() {
        let status: Status = ended.unwrap();
        faults.push(format!("a subscriber was refused: {status}"));
    }
    let unread = broker.unread().await;
    if unread > 0 {
        faults.push(format!("{unread} messages are left on the bus"));
    }
    let counts = recorder.finish().unwrap();
    faults.extend(drain(&mut violations));
    let offline = check(&file);
    if offline as u64 != counts.violations {
        faults.push(format!("the record has {offline} violations"));
    }
    println!("faults: {happened:?}");
    println!(
        "{} calls, {} starts, {} updates, {} lists, {} reconnects, {} messages ({} repeated), {} violations (--seed {seed})",
        load.calls(),
        load.starts(),
        counts.updates,
        counts.lists,
        counts.reconnects,
        counts.messages,
        counts.repeats,
        counts.violations
    );
    for fault in &faults {
        println!("{fault}");
    }
    match faults.is_empty() {
        true => {
            println!("everything held");
            ExitCode::SUCCESS
        }
        false => {
            println!("{} faults of wsman", faults.len());
            ExitCode::FAILURE
        }
    }
}

/// The subscribers of one daemon: of everything, of a part that begins with a snapshot, and of everything over a
/// connection that is cut.
fn subscribers(side: &Side, recorder: &Recorder) -> Vec<Consumer> {
    let name = side.daemon.name;
    let blue = MetadataFilter {
        annotations: [("team".to_owned(), "blue".to_owned())].into(),
        ..Default::default()
    };
    let all = lister(&format!("{name}-all"), side, recorder);
    let part = Consumer {
        who: format!("{name}-blue"),
        filter: Some(blue),
        snapshot: true,
        ..all.clone()
    };
    let cut = Consumer {
        who: format!("{name}-cut"),
        client: daemon::client(side.link.addr()),
        ..all.clone()
    };
    vec![all, part, cut]
}

/// Waits until nothing is told any more.
async fn quiet(recorder: &Recorder) {
    let begun = Instant::now();
    let seen = |recorder: &Recorder| recorder.counts().updates + recorder.counts().messages;
    let (mut before, mut since) = (seen(recorder), Instant::now());
    while since.elapsed() < QUIET {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = seen(recorder);
        if now != before {
            (before, since) = (now, Instant::now());
        }
        assert!(begun.elapsed() < PATIENCE, "updates do not end");
    }
}

/// Waits until nothing is told any more, and lists everywhere: from then on nothing may be missing.
async fn settle(sides: &[Side], recorder: &Recorder) {
    quiet(recorder).await;
    for side in sides {
        lister("list", side, recorder).list().await.unwrap();
    }
    let settled = Saw::Settled {
        until: None,
        channel: None,
    };
    // The bus may be behind: its publisher comes back after a pause.
    recorder.wait_for(&settled, PATIENCE).await;
    recorder.record("chaos", settled);
}

/// A consumer of everything that one daemon tells.
fn lister(who: &str, side: &Side, recorder: &Recorder) -> Consumer {
    Consumer {
        who: who.to_owned(),
        server: side.daemon.name.to_owned(),
        client: side.daemon.client(),
        filter: None,
        snapshot: false,
        recorder: recorder.clone(),
    }
}

fn drain(violations: &mut mpsc::UnboundedReceiver<Violation>) -> Vec<String> {
    let mut lines = Vec::new();
    while let Ok(violation) = violations.try_recv() {
        lines.push(serde_json::to_string(&violation).unwrap());
    }
    lines
}

/// Checks the record as `wsman verify --check` does and returns how many violations it holds.
fn check(file: &Path) -> usize {
    let text = std::fs::read_to_string(file).unwrap();
    let history: Vec<_> = text
        .lines()
        .map(|line| history::read(line).unwrap())
        .collect();
    history::check(&history).len()
}
