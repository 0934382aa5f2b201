//! What changed between two statuses of one session, in words.

use super::super::words::NONE;
use super::words;
use crate::proto::wsman::sessions::v1::{ComponentStatus, Session};

/// The reason of the phase if it is new, and every component whose health or node is new. Without an earlier status,
/// everything that there is to say.
pub(super) fn between(before: Option<&Session>, now: &Session) -> String {
    let mut parts = Vec::new();
    let why = words::why(now);
    if !why.is_empty() && before.is_none_or(|before| words::why(before) != why) {
        parts.push(why);
    }
    let old = before.map_or(&[][..], components);
    for component in components(now) {
        let before = old.iter().find(|old| old.name == component.name);
        parts.extend(change(before, component));
    }
    let result = |session: &Session| session.status.as_ref().and_then(|status| status.exit_code);
    if let Some(code) = result(now)
        && before.is_some_and(|before| result(before).is_none())
    {
        parts.push(format!("exit code {code}"));
    }
    parts.join("; ")
}

fn components(session: &Session) -> &[ComponentStatus] {
    session
        .status
        .as_ref()
        .map_or(&[], |status| &status.components)
}

/// What changed of one component. Of the first status only what went wrong counts.
fn change(before: Option<&ComponentStatus>, now: &ComponentStatus) -> Option<String> {
    let why = words::why_component(now);
    let is_same = match before {
        Some(before) => {
            before.health == now.health
                && before.node == now.node
                && words::why_component(before) == why
        }
        None => why.is_empty(),
    };
    if is_same {
        return None;
    }
    let health = words::health(now).into_text();
    let mut text = match health.as_str() {
        NONE => now.name.clone(),
        health => format!("{} {health}", now.name),
    };
    if !now.node.is_empty() && before.is_none_or(|before| before.node != now.node) {
        text.push_str(&format!(" on {}", now.node));
    }
    if !why.is_empty() {
        text.push_str(&format!(" ({why})"));
    }
    Some(text)
}
