//! Measures the daemon, in its own process, against a real API server. Each figure stands beside its floor from the
//! same run: the same work without wsman.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "a benchmark that cannot go on ends"
)]

mod bus;
#[path = "../../tests/it/support/envtest.rs"]
mod envtest;
mod events;
mod fanout;
mod process;
#[path = "../../tests/it/support/rabbit.rs"]
mod rabbit;
mod reads;
mod size;
mod start_path;
mod streams;
mod writes;

use std::time::{Duration, Instant};

use events::ApiServer;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tonic::transport::Channel;
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;

type Client = WorkspaceManagerClient<Channel>;

/// Runs the parts whose names contain one of the arguments, or all.
#[tokio::main]
async fn main() {
    let asked: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let wanted =
        |part: &str| asked.is_empty() || asked.iter().any(|word| part.contains(word.as_str()));
    println!("{:<58}{:>12}{:>12}", "", "wsman", "floor");
    if wanted("cold-start") {
        size::cold_start().await;
    }
    if wanted("bus-flood") {
        bus::confirmed(20_000).await;
    }
    if wanted("bus-steady") {
        bus::steady().await;
    }
    if wanted("fanout-one") {
        for connections in [100, 10] {
            fanout::one_event(&ApiServer::start().await, connections).await;
        }
    }
    if wanted("fanout-lag") {
        fanout::lag(&ApiServer::start().await).await;
    }
    if wanted("fanout-flood") {
        fanout::flood(&ApiServer::embedded().await).await;
    }
    if wanted("fanout-stalled") {
        fanout::stalled(&ApiServer::start().await).await;
    }
    let Some(cluster) = envtest::real().await else {
        println!("no real API server (KUBEBUILDER_ASSETS): nothing else is measured");
        return;
    };
    if wanted("starts-1") {
        writes::starts(cluster, 1, 200).await;
    }
    if wanted("starts-64") {
        writes::starts(cluster, 64, 640).await;
    }
    for (callers, count) in [(1, 60), (16, 160), (64, 320), (256, 512)] {
        if wanted(&format!("start-path-{callers}")) {
            start_path::measure(cluster, callers, count).await;
        }
    }
    if wanted("lifetime") {
        writes::lifetime(cluster, 200).await;
    }
    if wanted("crowd") {
        reads::crowd(cluster, 5000).await;
    }
}

fn skip_without(part: &str, _: &str, what: &str) {
    println!("no {what}: {part} is not measured");
}

/// Runs jobs, `parallel` at a time, and returns how long each took, sorted.
async fn timed<T, F: Future<Output = ()>>(
    parallel: usize,
    jobs: Vec<T>,
    run: impl Fn(T) -> F,
) -> Vec<Duration> {
    let one = async |job| {
        let begun = Instant::now();
        run(job).await;
        begun.elapsed()
    };
    let mut jobs = jobs.into_iter();
    let mut under_way: FuturesUnordered<_> = jobs.by_ref().take(parallel).map(&one).collect();
    let mut times = Vec::new();
    while let Some(time) = under_way.next().await {
        times.push(time);
        under_way.extend(jobs.next().map(&one));
    }
    times.sort();
    times
}

fn percentile(sorted: &[Duration], share: usize) -> Duration {
    sorted[(sorted.len() * share / 100).min(sorted.len() - 1)]
}

fn row(name: &str, ours: Option<Duration>, floor: Option<Duration>) {
    let cell = |time: Option<Duration>| {
        time.map_or("-".to_owned(), |t| {
            format!("{:.2} ms", t.as_secs_f64() * 1e3)
        })
    };
    figure(name, &cell(ours), &cell(floor));
}

fn figure(name: &str, ours: &str, floor: &str) {
    println!("{name:<58}{ours:>12}{floor:>12}");
}

/// What the API server counts, summed over all lines of a metric whose labels contain one of `labels`.
async fn metric(client: &kube::Client, name: &str, labels: &[&str]) -> f64 {
    let request = http::Request::get("/metrics").body(Vec::new()).unwrap();
    let text = client.request_text(request).await.unwrap();
    text.lines()
        .filter(|line| line.starts_with(name))
        .filter(|line| labels.is_empty() || labels.iter().any(|label| line.contains(label)))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}
