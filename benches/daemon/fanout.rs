//! From one event on the API server to every Subscribe stream: the lag behind a raw watch, the number, and the cost.
//!
//! Floor: a raw watch of the same pods, on its own thread, in the same run. The streams share connections and are read
//! by [`super::streams`], in this process; the daemon and the API server are separate processes. All of them share the
//! processors of this machine, so the readers and the API server count against the daemon.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use super::events::{ApiServer, RawWatch, Source};
use super::process::{Daemon, ready};
use super::streams::{Reading, Seen, Streams};
use super::{envtest, figure, percentile, row};

const CONNECTIONS: usize = 100;
/// The number of measurements of each lag.
const ROUNDS: usize = 3;

/// A daemon with workspaces, and a raw watch beside it.
struct Rig {
    daemon: Daemon,
    source: Source,
    watch: RawWatch,
}

impl Rig {
    async fn new(server: &ApiServer, workspaces: usize) -> Self {
        let namespace = envtest::namespace(&server.client().await, "bench-fanout").await;
        let daemon = Daemon::start(Some(server.kubeconfig()), &namespace).await;
        let mut client = daemon.client().await;
        ready(&mut client).await;
        let source = Source::start(client, server, &namespace, workspaces).await;
        let watch = RawWatch::start(server, &namespace);
        Self {
            daemon,
            source,
            watch,
        }
    }

    async fn streams(&self, count: usize, connections: usize, reading: Reading) -> Streams {
        Streams::open(self.daemon.addr(), count, connections, reading).await
    }

    /// Changes workspaces at a rate, and returns the time of each request.
    async fn changes(&mut self, rate: u32, count: usize) -> HashMap<u64, Instant> {
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
        let mut asked = HashMap::new();
        for _ in 0..count {
            ticks.tick().await;
            let (at, version) = self.source.change().await;
            asked.insert(version, at);
        }
        asked
    }
}

/// One event at a time to 10,000 streams on so many connections: from the raw watch to the last stream.
pub(crate) async fn one_event(server: &ApiServer, connections: usize) {
    const STREAMS: usize = 10_000;
    const EVENTS: usize = 60;
    let mut rig = Rig::new(server, 1).await;
    let streams = rig.streams(STREAMS, connections, Reading::All).await;
    // Warm-up.
    rig.changes(10, 3).await;
    streams.received(3 * STREAMS).await;
    streams.take();
    let (mut lasts, mut floors) = (Vec::new(), Vec::new());
    let mut behind = Vec::new();
    for _ in 0..EVENTS {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let (asked, version) = rig.source.change().await;
        streams.received(STREAMS).await;
        let seen = streams.take();
        assert!(seen.iter().all(|seen| seen.version == version));
        let last = seen.iter().map(|seen| seen.at).max().unwrap();
        let watched = rig.watch.take(version).await[&version];
        lasts.push(last - asked);
        floors.push(watched - asked);
        behind.push(last.saturating_duration_since(watched));
    }
    for times in [&mut lasts, &mut floors, &mut behind] {
        times.sort();
    }
    for (what, share) in [("least", 0), ("median", 50), ("p99", 99)] {
        let name = format!("{STREAMS} streams on {connections}, {what} (floor: raw watch)");
        let [last, floor] = [&lasts, &floors].map(|times| Some(percentile(times, share)));
        row(&name, last, floor);
    }
    row(
        "  the last after the raw watch: median, least",
        Some(percentile(&behind, 50)),
        Some(behind[0]),
    );
}

/// The lag of streams behind a raw watch, at few and at many events a second.
pub(crate) async fn lag(server: &ApiServer) {
    let mut rig = Rig::new(server, 50).await;
    for count in [100, 1000] {
        let streams = rig.streams(count, CONNECTIONS, Reading::All).await;
        for (rate, events) in [(5, 40), (200, 1000)] {
            let mut rounds = Vec::new();
            for _ in 0..ROUNDS {
                rounds.push(Lag::measure(&mut rig, &streams, count, rate, events).await);
            }
            Lag::print(&format!("{count} streams, {rate}/s"), &rounds);
        }
    }
}

struct Lag {
    /// Sorted: of every message, after the raw watch had it.
    behind: Vec<Duration>,
    /// Sorted: of every event, from the write to the raw watch.
    floor: Vec<Duration>,
    /// The daemon's time on the processors, for each message.
    cost: Duration,
}

impl Lag {
    async fn measure(
        rig: &mut Rig,
        streams: &Streams,
        count: usize,
        rate: u32,
        events: usize,
    ) -> Self {
        streams.take();
        let before = rig.daemon.cpu();
        let asked = rig.changes(rate, events).await;
        streams.received(events * count).await;
        let cost = (rig.daemon.cpu() - before) / (events * count) as u32;
        let seen = streams.take();
        let newest = *asked.keys().max().unwrap();
        let watched = rig.watch.take(newest).await;
        assert_eq!(seen.len(), events * count);
        let mut behind: Vec<_> = seen
            .iter()
            .map(|seen| seen.at.saturating_duration_since(watched[&seen.version]))
            .collect();
        let mut floor: Vec<_> = asked
            .iter()
            .map(|(version, at)| watched[version].saturating_duration_since(*at))
            .collect();
        behind.sort();
        floor.sort();
        Self {
            behind,
            floor,
            cost,
        }
    }

    /// Prints the median round and, beside it, the best.
    fn print(name: &str, rounds: &[Self]) {
        let print = |what: String, of: &dyn Fn(&Self) -> Duration| {
            let mut times: Vec<_> = rounds.iter().map(of).collect();
            times.sort();
            row(&what, Some(times[times.len() / 2]), Some(times[0]));
        };
        for (word, share) in [("p50", 50), ("p99", 99)] {
            print(
                format!("after a raw watch, {name}, {word}: median, least"),
                &|lag| percentile(&lag.behind, share),
            );
        }
        print(
            format!("  raw watch after the write, {name}, p50"),
            &|lag| percentile(&lag.floor, 50),
        );
        let mut costs: Vec<_> = rounds.iter().map(|lag| lag.cost).collect();
        costs.sort();
        let cell = |time: Duration| format!("{:.2} µs", time.as_secs_f64() * 1e6);
        figure(
            &format!("  daemon's CPU for a message, {name}"),
            &cell(costs[costs.len() / 2]),
            &cell(costs[0]),
        );
    }
}

/// Everything at once: 100 workspaces change as fast as the API server permits, for 100 streams.
pub(crate) async fn flood(server: &ApiServer) {
    const STREAMS: usize = 100;
    const WORKSPACES: usize = 100;
    const TIMES: usize = 100;
    let mut rig = Rig::new(server, WORKSPACES).await;
    let streams = rig.streams(STREAMS, CONNECTIONS, Reading::All).await;
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        streams.take();
        let begun = Instant::now();
        let last = rig.source.flood(TIMES, 64).await;
        let written = begun.elapsed();
        let last: HashSet<u64> = last.into_iter().collect();
        let (mut seen, mut delivered) = (Vec::new(), 0);
        let deadline = Instant::now() + Duration::from_secs(30);
        while delivered < last.len() * STREAMS {
            assert!(Instant::now() < deadline, "{delivered} last states came");
            tokio::time::sleep(Duration::from_millis(10)).await;
            let new = streams.take();
            delivered += new.iter().filter(|s| last.contains(&s.version)).count();
            seen.extend(new);
        }
        each_once(&seen);
        rig.watch.take(*last.iter().max().unwrap()).await;
        let over = seen.iter().map(|seen| seen.at).max().unwrap();
        let rate = |count: usize, time: Duration| count as f64 / time.as_secs_f64();
        rates.push((
            rate(seen.len(), over - begun),
            rate(TIMES * WORKSPACES, written),
            seen.len(),
        ));
    }
    rates.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (rate, events, seen) = rates[ROUNDS / 2];
    figure(
        &format!("messages of {WORKSPACES} workspaces to {STREAMS} streams (floor: events)"),
        &format!("{rate:.0}/s"),
        &format!("{events:.0}/s"),
    );
    figure(
        "  delivered, every last state among them (floor: all)",
        &seen.to_string(),
        &(TIMES * WORKSPACES * STREAMS).to_string(),
    );
}

fn each_once(seen: &[Seen]) {
    let different: HashSet<_> = seen.iter().map(|s| (s.stream, s.version)).collect();
    assert_eq!(different.len(), seen.len(), "a stream repeated itself");
}

/// The cost of 1,000 readers that stopped reading, in memory and for 100 others. Each has its own connection.
pub(crate) async fn stalled(server: &ApiServer) {
    const STALLED: usize = 1000;
    const STREAMS: usize = 100;
    let mut rig = Rig::new(server, 50).await;
    let live = rig.streams(STREAMS, CONNECTIONS, Reading::All).await;
    let (mut alone, mut beside, mut costs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        alone.push(Lag::measure(&mut rig, &live, STREAMS, 200, 1000).await);
        let before = rig.daemon.resident();
        let stuck = rig.streams(STALLED, STALLED, Reading::Stalls).await;
        let opened = rig.daemon.resident() - before;
        live.take();
        let filled = rig.source.flood(8, 8).await;
        live.received(8 * filled.len() * STREAMS).await;
        let first = stuck.take();
        assert!(
            first.len() < 8 * filled.len() * STALLED,
            "no reader is stuck"
        );
        beside.push(Lag::measure(&mut rig, &live, STREAMS, 200, 1000).await);
        assert!(stuck.take().is_empty(), "a reader is not stuck");
        costs.push((rig.daemon.resident() - before, opened));
    }
    // Later rounds reuse memory of the first one.
    let (cost, opened) = costs[0];
    figure(
        &format!("memory for {STALLED} stalled readers (floor: just opened)"),
        &format!("{cost:.1} MB"),
        &format!("{opened:.1} MB"),
    );
    for (what, share) in [("p50", 50), ("p99", 99)] {
        let middle = |lags: &[Lag]| {
            let mut times: Vec<_> = lags.iter().map(|l| percentile(&l.behind, share)).collect();
            times.sort();
            Some(times[times.len() / 2])
        };
        row(
            &format!("{STREAMS} others after a raw watch, {what} (floor: without)"),
            middle(&beside),
            middle(&alone),
        );
    }
}
