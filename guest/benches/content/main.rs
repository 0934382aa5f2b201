//! Measures the guest beside the commands that do the same work: `tar | zstd -1` into the same store and back, and
//! `git clone` from the same server. `scripts/bench content` builds the guest of a release and runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    reason = "a benchmark that cannot go on ends"
)]

mod run;
#[path = "../../tests/it/server.rs"]
mod server;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use serde_json::{Value, json};

use run::{Run, median, run, shell};

/// Most memory of the guest.
const MEMORY: u64 = 64 << 20;

#[derive(Parser)]
struct Args {
    /// The guest; without it that of the profile of the benchmark.
    #[arg(long, default_value = env!("CARGO_BIN_EXE_wsman-guest"))]
    guest: PathBuf,
    /// Bytes of the tree, with the suffix M or G.
    #[arg(long, default_value = "2G", value_parser = bytes)]
    bytes: u64,
    /// Files of the tree.
    #[arg(long, default_value_t = 20_000)]
    files: u64,
    /// Bytes of the repository.
    #[arg(long, default_value = "200M", value_parser = bytes)]
    repository_bytes: u64,
    /// Files of the repository.
    #[arg(long, default_value_t = 5_000)]
    repository_files: u64,
    /// How often each is measured; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Where trees and stores lie meanwhile.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only the parts whose names contain one of these: backup, clone.
    parts: Vec<String>,
    /// cargo gives it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn bytes(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(['M', 'G']);
    let factor = match &text[digits.len()..] {
        "" => 1,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return Err("only one suffix, M or G".into()),
    };
    let number: u64 = digits.parse().map_err(|_| "no number".to_owned())?;
    Ok(number * factor)
}

fn main() {
    let args = Args::parse();
    let dir = match &args.dir {
        Some(dir) => tempfile::tempdir_in(dir).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    let wanted = |part: &str| {
        let named = args.parts.iter().any(|word| part.contains(word.as_str()));
        args.parts.is_empty() || named
    };
    row(["", "guest", "floor", "guest/floor", "wanted"]);
    if wanted("backup") {
        backup_and_restore(&args, dir.path());
    }
    if wanted("clone") {
        clone(&args, dir.path());
    }
}

/// A tree into a store in a directory, and back.
fn backup_and_restore(args: &Args, dir: &Path) {
    let root = dir.join("tree");
    let size = tree::write(&root, args.files, args.bytes);
    let floor_store = dir.join("floor.tar.zst");
    let mut runs: [Vec<Run>; 4] = Default::default();
    for round in 0..args.rounds {
        let pod = Pod::new(dir, round);
        let copy = dir.join("copy");
        let sides = [round % 2 == 0, round % 2 != 0];
        for guest in sides {
            if guest {
                runs[0].push(run(&mut pod.command(&args.guest, "save", &root)));
            } else {
                // One thread compresses, whatever the version's default is.
                let text =
                    "tar --create --file - --directory \"$1\" . | zstd -q -f -1 -T1 -o \"$2\"";
                runs[1].push(run(&mut shell(text, [&root, &floor_store])));
            }
        }
        for guest in sides {
            fs::create_dir(&copy).unwrap();
            if guest {
                runs[2].push(run(&mut pod.command(&args.guest, "init", &copy)));
            } else {
                let text = "zstd -q -d -c \"$1\" | tar --extract --file - --directory \"$2\"";
                runs[3].push(run(&mut shell(text, [&floor_store, &copy])));
            }
            if round == 0 {
                same(&root, &copy);
            }
            fs::remove_dir_all(&copy).unwrap();
        }
        fs::remove_dir_all(pod.0).unwrap();
    }
    let [save, save_floor, restore, restore_floor] = runs.map(median);
    let what = format!("{:.2} GB in {} files", size as f64 / 1e9, args.files);
    let rate = |run: Run| size as f64 / 1e6 / run.time.as_secs_f64();
    for (name, guest, floor) in [
        ("backup", save, save_floor),
        ("restore", restore, restore_floor),
    ] {
        let share = rate(guest) / rate(floor) * 100.0;
        row([
            &format!("{name} of {what}"),
            &format!("{:.0} MB/s", rate(guest)),
            &format!("{:.0} MB/s", rate(floor)),
            &format!("{share:.0} %"),
            &judged(share >= 80.0, ">= 80 %"),
        ]);
    }
    memory("backup", save);
    memory("restore", restore);
    fs::remove_dir_all(root).unwrap();
}

/// A repository over HTTP.
fn clone(args: &Args, dir: &Path) {
    let source = dir.join("repositories/source");
    let size = tree::write(&source, args.repository_files, args.repository_bytes);
    for line in [
        "init --quiet --initial-branch main",
        "add --all",
        "-c user.name=u -c user.email=u@x commit --quiet --message content",
        "repack -q -a -d",
    ] {
        let mut git = Command::new("git");
        git.args(line.split(' ')).current_dir(&source);
        assert!(git.status().unwrap().success(), "git {line}");
    }
    let server = server::Server::git(&dir.join("repositories"));
    let url = server.url("source/.git");
    let mut runs: [Vec<Run>; 2] = Default::default();
    for round in 0..args.rounds {
        let copy = dir.join("clone");
        for guest in [round % 2 == 0, round % 2 != 0] {
            fs::create_dir(&copy).unwrap();
            if guest {
                let mut pod = Pod::new(dir, round);
                pod.1["initializer"] = json!({ "git": { "remote_uri": url } });
                runs[0].push(run(&mut pod.command(&args.guest, "init", &copy)));
                fs::remove_dir_all(pod.0).unwrap();
            } else {
                let mut git = Command::new("git");
                git.args(["clone", "--quiet", "--depth", "1", &url]);
                runs[1].push(run(git.arg(&copy)));
            }
            fs::remove_dir_all(&copy).unwrap();
        }
    }
    let [guest, floor] = runs.map(median);
    let (files, megabytes) = (args.repository_files, size / 1_000_000);
    let share = guest.time.as_secs_f64() / floor.time.as_secs_f64() * 100.0;
    row([
        &format!("clone of {megabytes} MB in {files} files"),
        &format!("{:.2} s", guest.time.as_secs_f64()),
        &format!("{:.2} s", floor.time.as_secs_f64()),
        &format!("{share:.0} %"),
        &judged(share <= 110.0, "<= 110 %"),
    ]);
    memory("clone", guest);
}

/// The directories of a pod, and its plan.
struct Pod(PathBuf, Value);

impl Pod {
    fn new(dir: &Path, round: usize) -> Self {
        let dir = dir.join(format!("pod-{round}"));
        fs::create_dir_all(dir.join("state")).unwrap();
        // The pod ends at once, and the last backup is made.
        fs::write(dir.join("state/stopping"), "").unwrap();
        let plan = json!({
            "version": 1, "instance": "instance", "owner": "owner", "workspace": "workspace",
            "initializer": { "backup": {} },
            "store": { "local": { "path": dir.join("store") } },
            "save": { "final_timeout": "60m", "main_share": "0s" },
            "limits": { "max_bytes": 100_u64 << 30, "max_files": 5_000_000 },
        });
        Self(dir, plan)
    }

    fn command(&self, guest: &Path, verb: &str, root: &Path) -> Command {
        let plan = self.0.join("plan.json");
        fs::write(&plan, self.1.to_string()).unwrap();
        let mut command = Command::new(guest);
        command.args(["content", verb, "--plan"]).arg(plan);
        command.arg("--root").arg(root);
        command.arg("--state").arg(self.0.join("state"));
        command.arg("--termination-log").arg(self.0.join("report"));
        command.stderr(std::process::Stdio::null());
        command
    }
}

fn same(left: &Path, right: &Path) {
    let mut diff = Command::new("diff");
    diff.args(["--recursive", "--brief"]).arg(left).arg(right);
    assert!(diff.status().unwrap().success(), "the copy differs");
}

fn memory(name: &str, run: Run) {
    row([
        &format!("memory of a {name}"),
        &format!("{:.1} MB", run.peak as f64 / (1 << 20) as f64),
        "-",
        "-",
        &judged(run.peak < MEMORY, "< 64 MB"),
    ]);
}

fn judged(reached: bool, wanted: &str) -> String {
    let missed = if reached { "" } else { "  missed" };
    format!("{wanted}{missed}")
}

fn row([name, guest, floor, share, wanted]: [&str; 5]) {
    println!("{name:<44}{guest:>12}{floor:>12}{share:>13}  {wanted}");
}
