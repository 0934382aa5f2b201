//! The identity of this process for other replicas, and whether one of them has ended as far as this machine knows.

use std::fs;

use rustix::process::{Pid, test_kill_process};
use sha2::{Digest, Sha256};

use crate::lease::identity::{Identity, Process, Relation};

/// Returns the identity of this start.
///
/// # Errors
/// If the system has no randomness.
pub fn identity() -> anyhow::Result<Identity> {
    let host = std::env::var("HOSTNAME").or_else(|_| {
        fs::read_to_string("/proc/sys/kernel/hostname").map(|name| name.trim().to_owned())
    });
    let start = getrandom::u64().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    Ok(Identity {
        host: host.unwrap_or_else(|_| "wsman".to_owned()),
        start,
        process: current(),
    })
}

/// Whether the holder of an identity is known to have ended. If nothing is known, it may be alive.
pub(super) fn is_gone(own: &Identity, holder: &str) -> bool {
    let Ok(holder) = holder.parse() else {
        return false;
    };
    match own.relation(&holder) {
        Relation::SameNamespace(process) => has_ended(process),
        Relation::EarlierContainer => true,
        Relation::Elsewhere => false,
    }
}

/// None if the system shows too little: then no replica can find out that this process has ended.
fn current() -> Option<Process> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    // The kernel's host name: the environment may have another.
    let host = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    let namespace = fs::read_link("/proc/self/ns/pid").ok()?;
    let namespace = namespace.to_str()?;
    let pid = std::process::id();
    let (started, _) = stat(pid)?;
    let container = fs::read_to_string("/proc/self/mountinfo").ok();
    let container = container.as_deref().and_then(container_of);
    Some(Process {
        namespace: hash(&[boot.trim(), host.trim(), namespace]),
        pid,
        began: started,
        container: container.map(|(pod, name)| hash(&[host.trim(), pod, name])),
    })
}

/// A process has ended if its number is free or belongs to another one, or if it is a zombie.
fn has_ended(process: Process) -> bool {
    let Some(pid) = i32::try_from(process.pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    // Not through /proc, which may hide the processes of other users.
    if test_kill_process(pid) == Err(rustix::io::Errno::SRCH) {
        return true;
    }
    stat(process.pid).is_some_and(|(started, state)| started != process.began || state == 'Z')
}

/// The start time of a process, in ticks since the boot, and its state.
fn stat(pid: u32) -> Option<(u64, char)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program name may contain anything, also parentheses.
    let (_, fields) = text.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((fields.nth(18)?.parse().ok()?, state))
}

/// The uid of the pod and the name of the container in the mounts of a kubelet.
fn container_of(mounts: &str) -> Option<(&str, &str)> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        if point != "/dev/termination-log" {
            return None;
        }
        let (_, rest) = root.split_once("/pods/")?;
        let (pod, rest) = rest.split_once("/containers/")?;
        let (name, _) = rest.split_once('/')?;
        Some((pod, name))
    })
}

fn hash(parts: &[&str]) -> u64 {
    let digest = Sha256::digest(parts.join("\n"));
    digest
        .iter()
        .take(8)
        .fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn named(process: Process) -> String {
        let identity = Identity {
            process: Some(process),
            ..identity().unwrap()
        };
        identity.to_string()
    }

    #[test]
    fn who_runs_is_not_gone() {
        let own = identity().unwrap();
        assert!(!is_gone(&own, &own.to_string()));
        let process = own.process.unwrap();
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let (began, _) = stat(child.id()).unwrap();
        let pid = child.id();
        let alive = named(Process {
            pid,
            began,
            ..process
        });
        assert!(!is_gone(&own, &alive));
        // A stopped process has not ended.
        let signal = |signal: &str| {
            let sent = Command::new("kill")
                .args([signal, &pid.to_string()])
                .status();
            assert!(sent.unwrap().success());
        };
        signal("-STOP");
        assert!(!is_gone(&own, &alive));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(is_gone(&own, &alive));
    }

    #[test]
    fn a_number_that_is_used_again_is_another_process() {
        let own = identity().unwrap();
        let process = own.process.unwrap();
        let earlier = Process {
            began: process.began - 1,
            ..process
        };
        assert!(is_gone(&own, &named(earlier)));
    }

    #[test]
    fn no_other_process_is_known_to_be_gone() {
        let own = identity().unwrap();
        let process = own.process.unwrap();
        let elsewhere = Process {
            namespace: process.namespace ^ 1,
            pid: u32::MAX,
            ..process
        };
        for holder in [
            named(elsewhere),
            "another-program".to_owned(),
            String::new(),
        ] {
            assert!(!is_gone(&own, &holder), "{holder}");
        }
        // No process has that number, so it proves nothing.
        let odd = Process {
            pid: u32::MAX,
            ..process
        };
        assert!(!is_gone(&own, &named(odd)));
    }

    #[test]
    fn a_zombie_child_has_ended() {
        let own = identity().unwrap();
        let process = own.process.unwrap();
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (began, _) = stat(child.id()).unwrap();
        let pid = child.id();
        drop(child.stdin.take());
        // Its output ends with it, or just before.
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut rest).unwrap();
        while stat(pid).is_some_and(|(_, state)| state != 'Z') {
            std::thread::yield_now();
        }
        let ended = named(Process {
            pid,
            began,
            ..process
        });
        assert!(is_gone(&own, &ended));
        child.wait().unwrap();
    }

    #[test]
    fn the_kubelet_names_pod_and_container() {
        let mounts = "\
            22 1 0:21 / /proc rw - proc proc rw\n\
            731 700 8:1 /var/lib/kubelet/pods/2b1c/etc-hosts /etc/hosts rw - ext4 /dev/sda1 rw\n\
            732 700 8:1 /var/lib/kubelet/pods/2b1c/containers/wsman/9f0a /dev/termination-log rw - ext4 /dev/sda1 rw\n";
        assert_eq!(container_of(mounts), Some(("2b1c", "wsman")));
        assert_eq!(container_of("22 1 0:21 / /proc rw - proc proc rw"), None);
    }
}
