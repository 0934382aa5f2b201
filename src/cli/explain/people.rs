//! The explanation for people: the phase and why, what happens next, and when.

use std::fmt::Write;

use crate::proto::wsman::WorkspacePhase;
use crate::proto::wsman::inspect::v1::ExplainWorkspaceResponse;

/// Renders a few aligned lines. `live`: a daemon that runs said so, rather than a file.
pub(in crate::cli) fn render(explained: &ExplainWorkspaceResponse, live: bool) -> String {
    let mut lines = Lines::default();
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
    if explained.actions.is_empty() {
        lines.add("now", &explained.rule);
    }
    for action in &explained.actions {
        lines.add("now", &format!("{action} ({})", explained.rule));
    }
    if let Some(next) = &explained.next {
        let at = next.at.as_ref().map(moment).unwrap_or_default();
        let source = match next.source.as_str() {
            "" => String::new(),
            source => format!(" ({source})"),
        };
        lines.add("next", &format!("{at}: {}{source}", next.reason));
    }
    if live && !explained.leader {
        lines.add("leader", "another replica acts, not the one that answered");
    }
    lines.0
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
