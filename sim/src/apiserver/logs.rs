//! The subresource `log` of pods: the selected lines, as text, and those that follow.

use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use futures::stream::unfold;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::watch::Receiver;

use super::clock;
use super::request::{Query, Target};
use super::resources::PODS;
use super::status::{Cause, Status};
use super::store::Store;
use super::validate::text;
use crate::logs::{self, Selection};

/// The log as chunks of text. Followed, it ends with the container or the pod.
pub(crate) fn stream(
    store: &Store,
    target: &Target,
    query: &Query,
) -> Result<impl Stream<Item = Bytes> + Send + use<>, Status> {
    let wanted = selection(query)?;
    let (pod, changed) = store.with(|state| {
        let pod = state.get(PODS, &target.key()).cloned();
        (pod, state.subscribe(PODS))
    });
    let pod = pod.ok_or_else(|| Status::not_found(target.resource, &target.name))?;
    let container = container(&pod.value, query.get("container"))?;
    let log = match text(&pod.value["spec"], "nodeName") {
        // No kubelet could have been asked.
        "" => None,
        _ => {
            let now = Timestamp::now();
            let log = logs::read(&pod.value, &container, query.is_set("previous"), now);
            Some(log.map_err(Status::bad_request)?)
        }
    };
    let first = log.as_ref().map(|log| wanted.select(log));
    let open = query.is_set("follow") && log.as_ref().is_some_and(|log| log.open);
    let follow = log.filter(|_| open).map(|log| Follow {
        store: store.clone(),
        key: target.key(),
        container,
        wanted,
        sent: log.lines.len(),
        started: log.started,
        due: log.next,
        changed,
    });
    let first = first.filter(|text| !text.is_empty()).map(Bytes::from);
    Ok(unfold((first, follow), |(first, follow)| async move {
        if let Some(first) = first {
            return Some((first, (None, follow)));
        }
        let mut follow = follow?;
        let (text, open) = follow.next().await?;
        Some((text.into(), (None, open.then_some(follow))))
    }))
}

/// The selected lines, as the query has them.
pub(crate) fn selection(query: &Query) -> Result<Selection, Status> {
    let mut causes = Vec::new();
    let mut number = |name: &str, least: i64, detail: &str| {
        let value = query.number::<i64>(name)?;
        if let Some(value) = value.filter(|value| *value < least) {
            causes.push(Cause::invalid(name, value, detail));
        }
        Ok::<_, Status>(value)
    };
    let tail = number("tailLines", 0, "must be greater than or equal to 0")?;
    let limit = number("limitBytes", 1, "must be greater than 0")?;
    let seconds = number("sinceSeconds", 1, "must be greater than 0")?;
    let time = query.get("sinceTime");
    let since = match (seconds, time) {
        (None, "") => None,
        (Some(seconds), "") => Some(clock::plus(Timestamp::now(), -seconds)),
        (None, time) => Some(time.parse().map_err(|_| {
            Status::bad_request(format!("sinceTime {time:?} is no time in RFC 3339"))
        })?),
        (Some(_), _) => {
            let detail = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            causes.push(Cause::forbidden("", detail));
            None
        }
    };
    if !causes.is_empty() {
        return Err(Status::invalid("", "PodLogOptions", "", &causes));
    }
    let size = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok());
    Ok(Selection {
        tail: size(tail),
        since,
        timestamps: query.is_set("timestamps"),
        limit: size(limit),
    })
}

/// The rest of a log that is followed.
struct Follow {
    store: Store,
    key: String,
    container: String,
    wanted: Selection,
    /// Lines that were there before.
    sent: usize,
    started: Timestamp,
    /// When the next line is written.
    due: Option<Timestamp>,
    changed: Receiver<u64>,
}

impl Follow {
    /// The next lines, and whether more may come; nothing once the container's run is over.
    async fn next(&mut self) -> Option<(String, bool)> {
        loop {
            tokio::select! {
                changed = self.changed.changed() => changed.ok()?,
                () = until(self.due) => {}
            }
            let pod = self
                .store
                .with(|state| state.get(PODS, &self.key).cloned())?;
            let log = logs::read(&pod.value, &self.container, false, Timestamp::now()).ok()?;
            if log.started != self.started {
                return None;
            }
            let mut text = String::new();
            for line in log.lines.iter().skip(self.sent) {
                self.wanted.show(line, &mut text);
            }
            self.sent = log.lines.len();
            self.due = log.next;
            match (text.is_empty(), log.open) {
                (true, true) => {}
                (true, false) => return None,
                (false, open) => return Some((text, open)),
            }
        }
    }
}

/// Waits for a time, or for ever if there is none.
async fn until(at: Option<Timestamp>) {
    let Some(at) = at else {
        return std::future::pending().await;
    };
    let wait = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
    // Timers have whole milliseconds.
    tokio::time::sleep(wait + Duration::from_millis(1)).await;
}

/// The selected container: the only one, if none is named.
pub(crate) fn container(pod: &Value, asked: &str) -> Result<String, Status> {
    let names = |list: &str| -> Vec<&str> {
        let all = pod["spec"][list].as_array().into_iter().flatten();
        all.map(|one| text(one, "name")).collect()
    };
    let (main, init) = (names("containers"), names("initContainers"));
    let pod = text(&pod["metadata"], "name");
    match (asked, main.as_slice()) {
        ("", [only]) if init.is_empty() => Ok((*only).to_owned()),
        ("", _) => {
            let all = [init, main].concat().join(" ");
            Err(Status::bad_request(format!(
                "a container name must be specified for pod {pod}, choose one of: [{all}]"
            )))
        }
        (asked, _) if main.contains(&asked) || init.contains(&asked) => Ok(asked.to_owned()),
        _ => Err(Status::bad_request(format!(
            "container {asked} is not valid for pod {pod}"
        ))),
    }
}
