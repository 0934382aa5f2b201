//! A seeded run of mixed faults: two daemons on one real API server and one real broker, hundreds of workspaces that
//! start and stop, and subscribers and a consumer of the message bus that record what they receive. After the faults,
//! when everything has settled, the record must have no violation, the bus must be empty, and the daemons must have
//! released their memory.

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
use wsman::history::{self, Checker, Saw, Violation};
use wsman::proto::wsman::MetadataFilter;

use broker::Broker;
use daemon::Daemon;
use faults::{Side, Victims};
use load::{Load, Mode};
use support::proxy::{Link, Proxy};

/// Timeout until all workspaces run, or all are gone.
const TIMEOUT: Duration = Duration::from_secs(600);
/// After this long without an update, every consumer has received everything.
const QUIET: Duration = Duration::from_secs(5);
/// Most memory of a daemon for the end of a workspace, which it keeps for resumed streams, in megabytes.
const REMEMBERED: f64 = 0.0015;
/// What glibc may keep after a peak, in megabytes: `malloc_stats` of a daemon whose memory had grown by 5 MB showed
/// that less of it was in use than before.
const KEPT: f64 = 8.0;
/// The number of ends that it keeps.
const ENDS: u64 = 4096;
/// Timeout until memory is released: idle connections are closed after a minute and a half.
const IDLE: Duration = Duration::from_secs(120);
/// The log line of a daemon that no longer waits for the bus with a pod.
const UNANNOUNCED: &str = "whose STOPPED the message bus has not confirmed";
/// The log line of a daemon that no longer waits for the bus at shutdown.
const UNCONFIRMED: &str = "the message bus has not taken everything";

#[derive(Parser)]
struct Args {
    /// Duration of the faults.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The seed of the run [default: a random one].
    #[arg(long)]
    seed: Option<u64>,
    /// The number of workspaces at a time.
    #[arg(long, default_value_t = 500)]
    workspaces: usize,
    /// Cargo passes it to every benchmark.
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
    let (recorder, mut violations) = Recorder::start(Some(&file), Checker::default()).unwrap();
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
    load.reach(Mode::Fill, TIMEOUT).await.unwrap();
    println!("{} workspaces run", args.workspaces);
    futures::future::join_all(sides.iter_mut().map(|side| side.daemon.terminate())).await;
    for side in &mut sides {
        side.daemon.spawn();
        side.daemon.ready().await;
    }
    // From here on the processes are alike: each has listed all workspaces, and survived what it has to.
    load.set(Mode::Churn);
    let victims = Victims {
        sides: &mut sides,
        server: &server,
        broker: &broker,
    };
    victims.rehearse().await;
    load.reach(Mode::Fill, TIMEOUT).await.unwrap();
    settle(&sides, &recorder).await;
    let (before, ended) = (resident(&sides), load.starts());
    println!("memory after a rehearsal: {before:.1?} MB");

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
    faults.extend(load.reach(Mode::Fill, TIMEOUT).await.err());
    settle(&sides, &recorder).await;
    let ended = (load.starts() - ended).min(ENDS);
    faults.extend(given_back(&sides, &before, ended).await.err());
    faults.extend(load.reach(Mode::Empty, TIMEOUT).await.err());
    settle(&sides, &recorder).await;

    for side in &mut sides {
        if !side.daemon.runs() {
            faults.push(format!("{} ended by itself", side.daemon.name));
        }
        let logged = side.daemon.log().len();
        side.daemon.terminate().await;
        let (name, log) = (side.daemon.name, side.daemon.log());
        if log.contains(UNANNOUNCED) {
            faults.push(format!("{name} let a pod go unannounced"));
        }
        if log[logged..].contains(UNCONFIRMED) {
            faults.push(format!("{name} ended before the bus had everything"));
        }
    }
    while let Some(ended) = consumers.try_join_next() {
        let status: Status = ended.unwrap();
        faults.push(format!("a subscriber was refused: {status}"));
    }
    let unread = broker.drain(TIMEOUT).await;
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

/// Memory of the daemons, in megabytes.
fn resident(sides: &[Side]) -> Vec<f64> {
    sides.iter().map(|side| side.daemon.resident()).collect()
}

/// Waits until no daemon needs a tenth more memory than one did before, except for what the allocator keeps and for
/// workspaces that ended since. The leader needs more, and either of them may lead.
async fn given_back(sides: &[Side], before: &[f64], ended: u64) -> Result<(), String> {
    let remembered = ended as f64 * REMEMBERED;
    let most = before.iter().fold(0.0, |a: f64, b| a.max(*b)) * 1.1 + KEPT + remembered;
    println!(
        "memory after the faults: {:.1?} MB; {most:.1} MB are allowed, {KEPT:.0} of them for the allocator, {remembered:.1} for {ended} ends",
        resident(sides)
    );
    let begun = Instant::now();
    loop {
        let after = resident(sides);
        if after.iter().all(|after| *after <= most) {
            println!("memory {:.0?} later: {after:.1?} MB", begun.elapsed());
            return Ok(());
        }
        if begun.elapsed() > IDLE {
            return Err(format!("memory is not given back: {after:.1?} MB"));
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// The subscribers of one daemon: of everything, of a part with a snapshot, and of everything over a connection that is
/// cut.
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

/// Waits until there are no more updates.
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
        assert!(begun.elapsed() < TIMEOUT, "updates do not end");
    }
}

/// Waits until there are no more updates, and lists everywhere: from then on nothing may be missing.
async fn settle(sides: &[Side], recorder: &Recorder) {
    quiet(recorder).await;
    for side in sides {
        lister("list", side, recorder).list().await.unwrap();
    }
    let settled = Saw::Settled {
        until: None,
        channel: None,
    };
    // The bus may be behind: its publisher reconnects after a backoff.
    recorder.wait_for(&settled, TIMEOUT).await;
    recorder.record("chaos", settled);
}

/// A consumer of all updates of one daemon.
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

/// Checks the record as `wsman verify --check` does and returns the number of violations.
fn check(file: &Path) -> usize {
    let text = std::fs::read_to_string(file).unwrap();
    let history: Vec<_> = text
        .lines()
        .map(|line| history::read(line).unwrap())
        .collect();
    history::check(&history).len()
}
