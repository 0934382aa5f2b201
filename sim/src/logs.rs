//! The output of a simulated container: from its pod's annotations, or a line at its start and one at its end. And what
//! of an output is asked for, of a simulated container or of a process.

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The path of logs on the socket of a kubelet that runs processes; the request has a [`LogRequest`].
pub(crate) const LOGS: &str = "/containerLogs";
/// The path of exec there, before the pod's uid and the container.
pub(crate) const EXEC: &str = "/exec/";

/// On a pod: the output of its containers. With a dot and a container's name after it, of this container alone. A line
/// that begins with a duration, as in `200ms: text`, is written so long after the one before; the others at the start.
const SCRIPT: &str = "sim.wsman.dev/logs";

/// The output of one run of a container.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Log {
    /// When the run started, which distinguishes it from another of the same container.
    pub(crate) started: Timestamp,
    /// What is written so far.
    pub(crate) lines: Vec<Line>,
    /// The container runs, so more may follow.
    pub(crate) open: bool,
    /// When the next line is written, if it is known.
    pub(crate) next: Option<Timestamp>,
}

/// A line and when it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) text: String,
}

/// A log that the API server asks its kubelet for.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct LogRequest {
    pub(crate) uid: String,
    pub(crate) container: String,
    /// Restarts of the container before the run.
    pub(crate) run: i32,
    pub(crate) follow: bool,
    pub(crate) selection: Selection,
}

/// The selection and the format of lines.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub(crate) struct Selection {
    /// Only so many lines at the end.
    pub(crate) tail: Option<usize>,
    pub(crate) since: Option<Timestamp>,
    pub(crate) timestamps: bool,
    /// Only so many bytes at the start.
    pub(crate) limit: Option<usize>,
}

impl Selection {
    pub(crate) fn select(&self, log: &Log) -> String {
        let new = |at: &Timestamp| self.since.is_none_or(|since| *at >= since);
        let lines: Vec<_> = log.lines.iter().filter(|line| new(&line.at)).collect();
        let skip = self.tail.map_or(0, |tail| lines.len().saturating_sub(tail));
        let mut text = String::new();
        for line in &lines[skip..] {
            self.show(line, &mut text);
        }
        if let Some(limit) = self.limit {
            text.truncate(text.floor_char_boundary(limit));
        }
        text
    }

    pub(crate) fn show(&self, line: &Line, text: &mut String) {
        // A String takes whatever is written to it.
        let _ = match self.timestamps {
            true => writeln!(text, "{} {}", line.at, line.text),
            false => writeln!(text, "{}", line.text),
        };
    }
}

/// The log of a container of the pod at `now`, or of its previous run; an error has the kubelet's text.
pub(crate) fn read(
    pod: &Value,
    container: &str,
    previous: bool,
    now: Timestamp,
) -> Result<Log, String> {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let whose = format!("container {container:?} in pod {name:?}");
    let status = ["containerStatuses", "initContainerStatuses"]
        .iter()
        .flat_map(|list| pod["status"][*list].as_array().into_iter().flatten())
        .find(|status| status["name"] == container);
    let Some(status) = status else {
        return Err(format!("{whose} is waiting to start - no logs yet"));
    };
    let (state, last) = (&status["state"], &status["lastState"]["terminated"]);
    let run = match () {
        () if previous => Some(last).filter(|last| last.is_object()),
        () if state["running"].is_object() => Some(&state["running"]),
        () if state["terminated"].is_object() => Some(&state["terminated"]),
        () => Some(last).filter(|last| last.is_object()),
    };
    let Some(run) = run else {
        let waits = format!("{whose} is waiting to start");
        return Err(match state["waiting"]["reason"].as_str() {
            _ if previous => format!("previous terminated {whose} not found"),
            Some("ErrImagePull") => format!("{waits}: image can't be pulled"),
            Some("ImagePullBackOff") => format!("{waits}: trying and failing to pull image"),
            Some(reason) => format!("{waits}: {reason}"),
            None => format!("{waits} - no logs yet"),
        });
    };
    let time = |field: &str| run[field].as_str().and_then(|text| text.parse().ok());
    let ended = run.get("exitCode").is_some();
    let Some(started) = time("startedAt") else {
        // It was rejected before it ran.
        let (started, lines) = (Timestamp::UNIX_EPOCH, Vec::new());
        return Ok(Log {
            started,
            lines,
            open: false,
            next: None,
        });
    };
    let image = status["image"].as_str().unwrap_or_default();
    let annotations = &pod["metadata"]["annotations"];
    let own = annotations[format!("{SCRIPT}.{container}")].as_str();
    // Times of a status are whole seconds.
    let last = time("finishedAt").map(|at: Timestamp| at + SignedDuration::from_millis(999));
    let until = last.unwrap_or(now).min(now);
    let mut next = None;
    let lines = match own.or_else(|| annotations[SCRIPT].as_str()) {
        Some(text) => {
            let mut lines = paced(text, started);
            let written = lines.partition_point(|line| line.at <= until);
            next = lines.get(written).map(|line| line.at).filter(|_| !ended);
            lines.truncate(written);
            lines
        }
        None => {
            let text = format!("simulated: container {container} of image {image} has started");
            let mut lines = vec![Line { at: started, text }];
            if ended {
                let at = time("finishedAt").unwrap_or(started);
                let text = format!(
                    "simulated: container {container} has ended, exit code {}",
                    run["exitCode"]
                );
                lines.push(Line { at, text });
            }
            lines
        }
    };
    Ok(Log {
        started,
        lines,
        open: !ended,
        next,
    })
}

/// The lines of a script, each at its time.
fn paced(text: &str, started: Timestamp) -> Vec<Line> {
    let mut at = started;
    let mut lines = Vec::new();
    for line in text.lines() {
        let paced = line.split_once(':').and_then(|(pause, text)| {
            let pause: SignedDuration = pause.parse().ok()?;
            (!pause.is_negative()).then_some((pause, text.strip_prefix(' ').unwrap_or(text)))
        });
        let text = match paced {
            Some((pause, text)) => {
                at = at.checked_add(pause).unwrap_or(Timestamp::MAX);
                text
            }
            None => line,
        };
        let text = text.to_owned();
        lines.push(Line { at, text });
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(state: &Value, annotations: &Value) -> Value {
        let last = json!({"terminated": {"startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:05Z", "exitCode": 3}});
        json!({
            "metadata": {"name": "p", "annotations": annotations},
            "status": {"containerStatuses": [
                {"name": "c", "image": "i:1", "state": state},
                {"name": "again", "image": "i:1", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": last},
            ]},
        })
    }

    fn now() -> Timestamp {
        "2026-01-01T00:00:10Z".parse().unwrap()
    }

    fn texts(log: &Log) -> Vec<&str> {
        log.lines.iter().map(|line| line.text.as_str()).collect()
    }

    #[test]
    fn a_container_logs_its_start_and_its_end() {
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let log = read(&pod(&running, &json!({})), "c", false, now()).unwrap();
        assert_eq!(
            texts(&log),
            ["simulated: container c of image i:1 has started"]
        );
        assert!(log.open);
        for previous in [false, true] {
            let log = read(&pod(&running, &json!({})), "again", previous, now()).unwrap();
            assert_eq!(
                log.lines[1].text,
                "simulated: container again has ended, exit code 3"
            );
            assert!(!log.open);
        }
    }

    #[test]
    fn annotations_script_the_output() {
        let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
        let script = json!({"sim.wsman.dev/logs": "all", "sim.wsman.dev/logs.c": "one\ntwo\n"});
        let pod = pod(&running, &script);
        assert_eq!(
            texts(&read(&pod, "c", false, now()).unwrap()),
            ["one", "two"]
        );
        assert_eq!(texts(&read(&pod, "again", false, now()).unwrap()), ["all"]);
    }

    #[test]
    fn a_container_that_has_not_started_has_no_log() {
        let error = |reason: &str, previous| {
            let waiting = json!({"waiting": {"reason": reason}});
            read(&pod(&waiting, &json!({})), "c", previous, now()).unwrap_err()
        };
        assert_eq!(
            error("ContainerCreating", false),
            r#"container "c" in pod "p" is waiting to start: ContainerCreating"#
        );
        assert_eq!(
            error("ImagePullBackOff", false),
            r#"container "c" in pod "p" is waiting to start: trying and failing to pull image"#
        );
        assert_eq!(
            error("ContainerCreating", true),
            r#"previous terminated container "c" in pod "p" not found"#
        );
    }

    #[test]
    fn lines_come_at_their_time() {
        let script = json!({"sim.wsman.dev/logs": "one\n9s: two\n2s:three\nat 5s: four\n1m: five"});
        let running = pod(
            &json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}}),
            &script,
        );
        let at = |second: u32| format!("2026-01-01T00:00:{second:02}Z").parse().unwrap();
        let log = read(&running, "c", false, at(10)).unwrap();
        assert_eq!(texts(&log), ["one", "two"]);
        assert_eq!((log.next, log.open), (Some(at(11)), true));
        let log = read(&running, "c", false, at(20)).unwrap();
        assert_eq!(texts(&log), ["one", "two", "three", "at 5s: four"]);
        // Its end cuts off what it has not written.
        let ended = json!({"terminated": {
            "startedAt": "2026-01-01T00:00:00Z", "finishedAt": "2026-01-01T00:00:09Z", "exitCode": 0,
        }});
        let log = read(&pod(&ended, &script), "c", false, at(59)).unwrap();
        assert_eq!(texts(&log), ["one", "two"]);
        assert_eq!((log.next, log.open), (None, false));
    }
}
