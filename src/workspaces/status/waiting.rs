//! Why a pod waits to start, in the cluster's words: from its containers, its scheduler, or its events.

use super::events;
use crate::index::observed::Observed;
use crate::index::rank;
use crate::objects::{ContainerStatus, Pod};
use crate::workspaces::container;

/// Longest text that a status repeats.
const LIMIT: usize = 512;

/// Returns the text; none if the cluster has none yet.
pub(super) fn reason(observed: &Observed<'_>) -> Option<String> {
    let pod = observed.pod;
    let text = workspace(pod)
        .or_else(|| unscheduled(pod))
        .or_else(|| others(pod))
        .or_else(|| warning(observed))?;
    Some(clean(&text)).filter(|text| !text.is_empty())
}

/// Waiting reasons without information: the containers are being created.
fn is_ordinary(reason: &str) -> bool {
    matches!(reason, "ContainerCreating" | "PodInitializing" | "")
}

fn waits_for(container: &ContainerStatus) -> Option<String> {
    let waiting = container.state.waiting.as_ref()?;
    match waiting.message.as_str() {
        "" if is_ordinary(&waiting.reason) => None,
        "" => Some(waiting.reason.clone()),
        message if waiting.reason.is_empty() => Some(message.to_owned()),
        message => Some(format!("{}: {message}", waiting.reason)),
    }
}

fn workspace(pod: &Pod) -> Option<String> {
    waits_for(container::status(pod)?)
}

/// The workspace may wait for an init container or a sidecar.
fn others(pod: &Pod) -> Option<String> {
    let status = &pod.status;
    let containers = status.container_statuses.iter();
    let mut all = status.init_container_statuses.iter().chain(containers);
    all.find_map(|c| Some(format!("container {}: {}", c.name, waits_for(c)?)))
}

fn unscheduled(pod: &Pod) -> Option<String> {
    let scheduled = pod.condition("PodScheduled")?;
    let why = match scheduled.message.as_str() {
        "" => &scheduled.reason,
        message => message,
    };
    (scheduled.status != "True").then(|| why.to_owned())
}

fn warning(observed: &Observed<'_>) -> Option<String> {
    let last = events::of(observed).filter(|event| events::explains(event));
    let last = last.max_by(|a, b| rank(a).cmp(&rank(b)))?;
    Some(match last.message.as_str() {
        "" => last.reason.clone(),
        message => format!("{}: {message}", last.reason),
    })
}

/// One line of limited length, without secrets of URLs: a password before the host, a signature after the path.
fn clean(text: &str) -> String {
    let words: Vec<String> = text.split_whitespace().map(without_secrets).collect();
    let mut text = words.join(" ");
    text.retain(|c| !c.is_control());
    if text.len() > LIMIT {
        text.truncate(text.floor_char_boundary(LIMIT));
        text.push_str(" ...");
    }
    text
}

fn without_secrets(word: &str) -> String {
    let mut shown = String::new();
    let mut rest = word;
    while let Some(at) = rest.find("://") {
        let (scheme, after) = rest.split_at(at + 3);
        shown.push_str(scheme);
        let end = after.find(['"', '\'', ',', ')', ']']);
        let (url, more) = after.split_at(end.unwrap_or(after.len()));
        let (path, query) = match url.split_once('?') {
            Some((path, _)) => (path, "?..."),
            None => (url, ""),
        };
        let host = path.find('/').unwrap_or(path.len());
        let from = path[..host].rfind('@').map_or(0, |at| at + 1);
        shown.push_str(&path[from..]);
        shown.push_str(query);
        rest = more;
    }
    // An image reference with a password has no scheme: user:password@host.
    let secret = rest.split_once('@').filter(|(user, digest)| {
        user.contains(':') && !user.contains('/') && !digest.starts_with("sha256:")
    });
    match secret {
        Some((_, host)) => shown.push_str(host),
        None => shown.push_str(rest),
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::clean;

    #[test]
    fn hides_what_urls_may_hide() {
        for (text, shown) in [
            (
                "0/3 nodes are available:\n 3 Insufficient cpu.",
                "0/3 nodes are available: 3 Insufficient cpu.",
            ),
            (
                "Get \"https://jo:hunter2@r.example/v2/?token=abc\": EOF",
                "Get \"https://r.example/v2/?...\": EOF",
            ),
            (
                "Get https://r.example/v2/a?sig=x: 403",
                "Get https://r.example/v2/a?...",
            ),
            (
                "pull jo:hunter2@r.example/dev:1 failed",
                "pull r.example/dev:1 failed",
            ),
            (
                "image r.example/dev@sha256:00 is gone",
                "image r.example/dev@sha256:00 is gone",
            ),
            (
                "image \"dev:1@sha256:00\" is gone",
                "image \"dev:1@sha256:00\" is gone",
            ),
            ("\u{1b}[31mred", "[31mred"),
        ] {
            let all = clean(text);
            assert!(all.starts_with(shown), "{text:?} is shown as {all:?}");
            assert!(
                !all.contains("hunter2") && !all.contains("abc") && !all.contains("sig=x"),
                "{all:?}"
            );
        }
        assert!(clean(&"é".repeat(1000)).len() < 520);
    }
}
