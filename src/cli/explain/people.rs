//! The explanation for people: the phase and why, what happens next, and when.

use std::fmt::Write;

use crate::proto::wsman::WorkspacePhase;
use crate::proto::wsman::inspect::v1::{ContentStep, ExplainWorkspaceResponse};

/// Where an explanation comes from, and so what it cannot know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Origin {
    /// The daemon that manages the workspace: it knows everything.
    Daemon,
    /// Objects in a file.
    File {
        /// A configuration was given: timeouts are known.
        config: bool,
        /// The last activity was given: no object holds it.
        activity: bool,
    },
}

/// Renders a few aligned lines.
pub(in crate::cli) fn render(explained: &ExplainWorkspaceResponse, origin: Origin) -> String {
    let mut lines = Lines::default();
    let live = origin == Origin::Daemon;
    let title = format!("{} (pod {})", explained.id, explained.pod);
    lines.add("workspace", &title);
    if live {
        lines.some("owner", &explained.owner);
        lines.some("node", &explained.node);
    }
    let message = match explained.message.as_str() {
        "" => String::new(),
        message => format!(": {message}"),
    };
    let phase = WorkspacePhase::try_from(explained.phase)
        .unwrap_or_default()
        .as_str_name();
    let rule = &explained.phase_rule;
    lines.add("phase", &format!("{phase} (rule {rule}){message}"));
    for condition in &explained.conditions {
        let rule = match (condition.name.as_str(), explained.failure_rule.as_str()) {
            ("failed", rule) if !rule.is_empty() => format!(" (rule {rule})"),
            _ => String::new(),
        };
        lines.add(&condition.name, &format!("{}{rule}", condition.text));
    }
    for warning in &explained.warnings {
        let seen = match &warning.last_seen {
            Some(at) => format!(", last at {}", moment(at)),
            None => String::new(),
        };
        let count = warning.count;
        let text = format!(
            "{}: {} ({count} times{seen})",
            warning.reason, warning.message
        );
        lines.add("warning", &text);
    }
    if live {
        match &explained.last_activity {
            Some(at) => lines.add("last active", &moment(at)),
            None => lines.add("last active", "never"),
        }
    }
    if let Some(content) = &explained.content {
        lines.add("content", &awaited(content));
    }
    if explained.actions.is_empty() {
        lines.add("now", &explained.rule);
    }
    for action in &explained.actions {
        lines.add("now", &format!("{action} ({})", explained.rule));
    }
    let unknown = unknown(explained, origin);
    // A deadline that counts from an activity which is not known would be a guess.
    let guessed = |reason: &str| {
        matches!(
            origin,
            Origin::File {
                activity: false,
                ..
            }
        ) && matches!(reason, "inactivity timeout" | "closed timeout")
    };
    if let Some(next) = explained
        .next
        .as_ref()
        .filter(|next| !guessed(&next.reason))
    {
        let at = next.at.as_ref().map(moment).unwrap_or_default();
        let source = match next.source.as_str() {
            "" => String::new(),
            source => format!(" ({source})"),
        };
        lines.add("next", &format!("{at}: {}{source}", next.reason));
    }
    for text in unknown {
        lines.add("unknown", text);
    }
    if live && !explained.leader {
        lines.add("leader", "another replica acts, not the one that answered");
    }
    lines.0
}

/// What the content waits for, and how long the lifecycle waits for it.
fn awaited(content: &ContentStep) -> String {
    let source = match content.source.as_str() {
        "" => String::new(),
        source => format!(" ({source})"),
    };
    match &content.deadline {
        Some(at) => format!("{}, until {}{source}", content.step, moment(at)),
        None => content.step.clone(),
    }
}

/// What a file does not say although the next moment depends on it.
fn unknown(explained: &ExplainWorkspaceResponse, origin: Origin) -> Vec<&'static str> {
    let Origin::File { config, activity } = origin else {
        return Vec::new();
    };
    let running = matches!(
        explained.phase(),
        WorkspacePhase::Running | WorkspacePhase::Interrupted
    );
    let ended = explained.phase() == WorkspacePhase::Stopped;
    let timeouts = "the timeouts: give the daemon's configuration by --config";
    let user =
        "the user's last activity: no object holds it; ask the daemon (wsman client explain ID)";
    let all = [(!config && !ended, timeouts), (!activity && running, user)];
    let missing = all.into_iter().filter(|(missing, _)| *missing);
    missing.map(|(_, text)| text).collect()
}

/// A moment as RFC 3339; beyond the calendar, as the wire has it.
fn moment(at: &pbjson_types::Timestamp) -> String {
    let moment = jiff::Timestamp::new(at.seconds, at.nanos);
    moment.map_or_else(|_| format!("{}s", at.seconds), |moment| moment.to_string())
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    /// Adds a line unless there is nothing to say.
    fn some(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            self.add(name, text);
        }
    }

    fn add(&mut self, name: &str, text: &str) {
        // Texts come from pods: control characters must not reach a terminal.
        let text: String = text
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        // Writing to a String cannot fail.
        let _ = writeln!(self.0, "{name:<16} {text}");
    }
}
