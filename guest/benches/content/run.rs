//! One command, how long it took, and the most memory it had.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How often the memory of a process is read.
const SAMPLE: Duration = Duration::from_millis(5);

/// What a run cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    pub(crate) time: Duration,
    /// The most memory of the process itself, in bytes.
    pub(crate) peak: u64,
}

/// Runs a command after everything that was written before is on the disk. A failure ends the benchmark.
pub(crate) fn run(command: &mut Command) -> Run {
    Command::new("sync").status().unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let begun = Instant::now();
    let mut child = command.spawn().unwrap();
    let sampler = sampler(&child);
    let status = child.wait().unwrap();
    let time = begun.elapsed();
    assert!(status.success(), "{command:?}: {status}");
    let peak = sampler.join().unwrap();
    Run { time, peak }
}

/// Reads the high-water mark of a process until the process ends.
fn sampler(child: &Child) -> std::thread::JoinHandle<u64> {
    let path = format!("/proc/{}/status", child.id());
    std::thread::spawn(move || {
        let mut peak = 0;
        // A process that ended has no memory.
        while let Some(now) = high_water(&path) {
            peak = now.max(peak);
            std::thread::sleep(SAMPLE);
        }
        peak
    })
}

fn high_water(path: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}

/// A pipeline of the shell; what it names as `$1` and `$2` are paths.
pub(crate) fn shell(text: &str, paths: [&Path; 2]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", text, "floor"]);
    command.args(paths);
    command
}

/// The run in the middle.
pub(crate) fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by_key(|run| run.time);
    let peak = runs.iter().map(|run| run.peak).max().unwrap_or(0);
    let time = runs[runs.len() / 2].time;
    Run { time, peak }
}
