//! Reads the annotations `sim.wsman.dev/...` of a pod; invalid ones are reported and ignored.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// The prefix of every annotation that the simulation reads.
pub(crate) const PREFIX: &str = "sim.wsman.dev/";
/// What the API server reads and writes of them.
pub(crate) const EXEC_ERROR: &str = "exec-error";
pub(crate) const EXEC_ERROR_TIMES: &str = "exec-error-times";
pub(crate) const EXEC_EXIT_CODE: &str = "exec-exit-code";
pub(crate) const EXECS: &str = "execs";

/// The annotations of one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Script {
    pub(crate) schedule_after: Option<SignedDuration>,
    pub(crate) pull_after: Option<SignedDuration>,
    pub(crate) init_after: Option<SignedDuration>,
    pub(crate) start_after: Option<SignedDuration>,
    pub(crate) ready_after: Option<SignedDuration>,
    pub(crate) stop_after: Option<SignedDuration>,
    pub(crate) exit_after: Option<SignedDuration>,
    pub(crate) restart_after: Option<SignedDuration>,
    pub(crate) evict_after: Option<SignedDuration>,
    pub(crate) node_lost_after: Option<SignedDuration>,
    pub(crate) unschedulable: Option<String>,
    pub(crate) image_pull_error: Option<String>,
    pub(crate) failed_mount: Option<String>,
    pub(crate) network_not_ready: Option<String>,
    pub(crate) reject: Option<String>,
    pub(crate) reject_times: Option<u32>,
    pub(crate) exit_code: Option<i32>,
    pub(crate) exit_reason: Option<String>,
    pub(crate) init_exit_code: Option<i32>,
    pub(crate) init_message: Option<String>,
    pub(crate) sidecar_stop_after: Option<SignedDuration>,
    pub(crate) sidecar_exit_code: Option<i32>,
    pub(crate) sidecar_message: Option<String>,
    pub(crate) termination_message: Option<String>,
    pub(crate) ignore_term: bool,
    pub(crate) stuck_terminating: bool,
    pub(crate) never_ready: bool,
    pub(crate) until_exec: Option<String>,
    /// When an exec into a container first succeeded.
    pub(crate) execs: BTreeMap<String, Timestamp>,
}

/// An invalid annotation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) why: String,
}

impl Script {
    /// The script in `annotations`, and the unknown and malformed ones.
    pub(crate) fn read(annotations: &BTreeMap<String, String>) -> (Script, Vec<Fault>) {
        let mut script = Script::default();
        let mut faults = Vec::new();
        for (key, value) in annotations {
            let Some(name) = key.strip_prefix(PREFIX) else {
                continue;
            };
            if let Err(why) = script.set(name, value) {
                faults.push(Fault {
                    key: key.clone(),
                    value: value.clone(),
                    why,
                });
            }
        }
        (script, faults)
    }

    /// Whether a container waits for an exec.
    pub(crate) fn is_held(&self, container: &str) -> bool {
        self.until_exec.as_deref() == Some(container)
    }

    /// Exit code and reason of a container that ends because its program does.
    pub(crate) fn exit(&self) -> (i32, String) {
        let code = self.exit_code.unwrap_or(match self.exit_reason.as_deref() {
            None | Some("Completed") => 0,
            Some("OOMKilled" | "ContainerStatusUnknown") => 137,
            Some("Error") => 255,
            Some(_) => 1,
        });
        let reason = match (&self.exit_reason, code) {
            (Some(reason), _) => reason,
            (None, 0) => "Completed",
            (None, _) => "Error",
        };
        (code, reason.to_owned())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "schedule-after" => self.schedule_after = Some(duration(value)?),
            "pull-after" => self.pull_after = Some(duration(value)?),
            "init-after" => self.init_after = Some(duration(value)?),
            "start-after" => self.start_after = Some(duration(value)?),
            "ready-after" => self.ready_after = Some(duration(value)?),
            "stop-after" => self.stop_after = Some(duration(value)?),
            "exit-after" => self.exit_after = Some(duration(value)?),
            "restart-after" => self.restart_after = Some(duration(value)?),
            "evict-after" => self.evict_after = Some(duration(value)?),
            "node-lost-after" => self.node_lost_after = Some(duration(value)?),
            "unschedulable" => self.unschedulable = Some(text(value)?),
            "image-pull-error" => self.image_pull_error = Some(text(value)?),
            "failed-mount" => self.failed_mount = Some(text(value)?),
            "network-not-ready" => {
                self.network_not_ready = Some(text(value)?).filter(|v| v != "false");
            }
            "reject" => self.reject = Some(reason(value)?),
            "reject-times" => self.reject_times = Some(number(value)?),
            "exit-code" => self.exit_code = Some(number::<u8>(value)?.into()),
            "exit-reason" => self.exit_reason = Some(reason(value)?),
            "init-exit-code" => self.init_exit_code = Some(number::<u8>(value)?.into()),
            "init-message" => self.init_message = Some(value.to_owned()),
            "sidecar-stop-after" => self.sidecar_stop_after = Some(duration(value)?),
            "sidecar-exit-code" => self.sidecar_exit_code = Some(number::<u8>(value)?.into()),
            "sidecar-message" => self.sidecar_message = Some(value.to_owned()),
            // An empty message is valid: a program may write nothing.
            "termination-message" => self.termination_message = Some(value.to_owned()),
            "ignore-term" => self.ignore_term = boolean(value)?,
            "stuck-terminating" => self.stuck_terminating = boolean(value)?,
            "never-ready" => self.never_ready = boolean(value)?,
            "until-exec" => self.until_exec = Some(text(value)?),
            EXECS => self.execs = execs(value)?,
            EXEC_EXIT_CODE => _ = number::<u8>(value)?,
            EXEC_ERROR_TIMES => _ = number::<u32>(value)?,
            EXEC_ERROR => {
                if !(400..600).contains(&number::<u16>(value)?) {
                    return Err("not an HTTP status from 400 to 599".to_owned());
                }
            }
            // The logs of the pod use these.
            "logs" => {}
            name if name.starts_with("logs.") => {}
            // The snapshots of its volumes use these.
            "snapshot-after" | "snapshot-error" | "snapshot-never" => {}
            _ => return Err("unknown annotation".to_owned()),
        }
        Ok(())
    }
}

fn duration(value: &str) -> Result<SignedDuration, String> {
    let parsed: Result<SignedDuration, _> = value.trim().parse();
    match parsed {
        Ok(duration) if duration.is_negative() => Err("a negative duration".to_owned()),
        // Beyond this, a sum could exceed the calendar.
        Ok(duration) if duration > SignedDuration::from_hours(24 * 365) => {
            Err("a duration of more than a year".to_owned())
        }
        Ok(duration) => Ok(duration),
        Err(_) if value.trim() == "0" => Ok(SignedDuration::ZERO),
        Err(_) => Err("not a duration such as 200ms or 1m30s".to_owned()),
    }
}

fn execs(value: &str) -> Result<BTreeMap<String, Timestamp>, String> {
    let all = value.split(',').filter(|one| !one.is_empty());
    all.map(|one| {
        let pair = one.split_once('=');
        let pair = pair.and_then(|(name, at)| Some((name.to_owned(), at.parse().ok()?)));
        pair.ok_or_else(|| format!("{one:?} is not CONTAINER=TIME"))
    })
    .collect()
}

fn boolean(value: &str) -> Result<bool, String> {
    match value.trim() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

fn number<N: std::str::FromStr>(value: &str) -> Result<N, String>
where
    N::Err: std::fmt::Display,
{
    value
        .trim()
        .parse()
        .map_err(|error: N::Err| error.to_string())
}

fn text(value: &str) -> Result<String, String> {
    match value.trim() {
        "" => Err("empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

fn reason(value: &str) -> Result<String, String> {
    let text = text(value)?;
    match text.chars().all(|c| c.is_ascii_alphanumeric()) {
        true => Ok(text),
        false => Err("not a reason: one word of letters and digits".to_owned()),
    }
}
