//! The cases under testdata/decide: every row of the lifecycle and of the timeouts.

use serde_json::json;

use super::case::{Case, lines};
use crate::action::Action;
use crate::golden;
use crate::workspaces::decide::Verdict;

#[test]
fn verdicts_are_as_recorded() {
    golden::check_whole("decide", |input| {
        let (status, verdict) = Case::read(input).pass();
        let wake = verdict.wake_at.map(
            |wake| json!({"at": wake.at.to_string(), "reason": wake.reason, "source": wake.source}),
        );
        let answer = json!({
            "phase": status.phase().as_str_name(),
            "rule": verdict.rule,
            "actions": lines(&verdict.actions),
            "wake_at": wake,
        });
        (outcome(&verdict).to_owned(), answer)
    });
}

/// The strongest write of a verdict.
fn outcome(verdict: &Verdict) -> &'static str {
    let has = |wanted: fn(&Action) -> bool| verdict.actions.iter().any(wanted);
    if has(|a| matches!(a, Action::ForceDelete(_))) {
        "FORCE"
    } else if has(|a| matches!(a, Action::RemoveFinalizer(..))) {
        "RELEASE"
    } else if has(|a| matches!(a, Action::Stop(..))) {
        "STOP"
    } else if has(|a| matches!(a, Action::Recreate(_))) {
        "RECREATE"
    } else if has(|a| matches!(a, Action::Mark(..))) {
        "MARK"
    } else {
        "WAIT"
    }
}
