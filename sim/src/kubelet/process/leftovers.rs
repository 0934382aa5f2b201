//! What is left running. Of a kubelet that was killed: each process group has a file in its container's directory, and
//! the next kubelet kills the groups of those. Of a container: what left its group is found by a variable.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// The directory of these files.
const PROCESSES: &str = "processes";

/// A process of the machine: pids are used again, so the start distinguishes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Process {
    pid: i32,
    group: i32,
    /// Clock ticks since the machine started.
    started: u64,
}

/// Writes the file of a process that has just started, as the leader of its group.
pub(crate) fn record(home: &Path, leader: i32) -> io::Result<PathBuf> {
    let started = process(leader).map_or(0, |process| process.started);
    let folder = home.join(PROCESSES);
    super::directories::create(&folder)?;
    let file = folder.join(leader.to_string());
    fs::write(&file, format!("{leader} {started} {}\n", boot()))?;
    Ok(file)
}

/// Kills what still runs of the containers below `pods`; returns how many groups that were.
pub(crate) fn kill(pods: &Path) -> usize {
    let running = processes();
    let mut killed = 0;
    for file in files(pods) {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let _ = fs::remove_file(&file);
        let Some((leader, started)) = read(&text, &boot()) else {
            continue;
        };
        if is_left(leader, started, &running)
            && let Some(leader) = Pid::from_raw(leader)
        {
            let _ = kill_process_group(leader, Signal::KILL);
            killed += 1;
        }
    }
    killed
}

/// The variable that every process of a container inherits: where its root is.
pub(crate) const ROOTFS: &str = "WSMAN_ROOTFS";

/// How often processes are looked for: one that forks meanwhile is found in the next round.
const ROUNDS: usize = 5;

/// Kills every process whose root is below a directory, or is that directory. One that removed the variable stays.
pub(crate) fn sweep(directory: &Path) {
    let root = format!("{ROOTFS}={}", directory.display());
    for _ in 0..ROUNDS {
        let ids = processes().into_iter().map(|process| process.pid);
        let found: Vec<_> = ids.filter(|id| has_root(*id, root.as_bytes())).collect();
        if found.is_empty() {
            return;
        }
        for pid in found.into_iter().filter_map(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

fn has_root(pid: i32, root: &[u8]) -> bool {
    // That of a process of another user cannot be read.
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    let mut variables = environment.split(|byte| *byte == 0);
    variables.any(|one| {
        let rest = one.strip_prefix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
    })
}

/// The group and its leader's start, if the machine has not been restarted since.
fn read(text: &str, boot: &str) -> Option<(i32, u64)> {
    let mut words = text.split_whitespace();
    let (leader, started) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    (words.next()? == boot && leader > 1).then_some((leader, started))
}

/// Whether a group is the recorded one: its leader is the same process, or is gone and left younger ones behind.
fn is_left(leader: i32, started: u64, running: &[Process]) -> bool {
    match running.iter().find(|process| process.pid == leader) {
        Some(process) => process.group == leader && process.started == started,
        None => running
            .iter()
            .any(|process| process.group == leader && process.started >= started),
    }
}

/// The files of all containers of all pods.
fn files(pods: &Path) -> Vec<PathBuf> {
    let list = |folder: PathBuf| {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let containers = list(pods.to_owned()).into_iter();
    let containers = containers.flat_map(|pod| list(pod.join("containers")));
    containers
        .flat_map(|container| list(container.join(PROCESSES)))
        .collect()
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

fn process(pid: i32) -> Option<Process> {
    stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Reads `/proc/PID/stat`; the name in it may have spaces and parentheses.
fn stat(text: &str) -> Option<Process> {
    let (pid, rest) = text.split_once(' ')?;
    let fields: Vec<_> = rest.rsplit_once(')')?.1.split_whitespace().collect();
    Some(Process {
        pid: pid.parse().ok()?,
        group: fields.get(2)?.parse().ok()?,
        started: fields.get(19)?.parse().ok()?,
    })
}

fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    match id.trim() {
        "" => "unknown".to_owned(),
        id => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_from_its_stat() {
        let text = "42 (a (b) c) S 1 40 40 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 12345 1 1";
        let expected = Process {
            pid: 42,
            group: 40,
            started: 12345,
        };
        assert_eq!(stat(text), Some(expected));
        assert_eq!(stat("42 (cut"), None);
    }

    #[test]
    fn only_the_recorded_group_is_left() {
        let one = |pid, group, started| Process {
            pid,
            group,
            started,
        };
        for (running, left) in [
            (vec![one(7, 7, 100)], true),
            (vec![one(7, 7, 101)], false),
            (vec![one(7, 6, 100)], false),
            (vec![one(9, 7, 150)], true),
            (vec![one(9, 7, 50)], false),
            (vec![one(9, 9, 150)], false),
        ] {
            assert_eq!(is_left(7, 100, &running), left, "{running:?}");
        }
    }

    #[test]
    fn a_restart_of_the_machine_leaves_nothing() {
        assert_eq!(read("7 100 boot\n", "boot"), Some((7, 100)));
        for text in ["7 100 other\n", "1 100 boot", "7 100", "", "x y boot"] {
            assert_eq!(read(text, "boot"), None, "{text:?}");
        }
    }
}
