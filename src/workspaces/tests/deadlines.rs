//! The moment at which a decision says to look again: before it nothing changes, not even a nanosecond before; and a limit
//! counts from the nanosecond at which it ends.

use jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::life::{case, marks};
use super::mutate;
use crate::action::Action;
use crate::decision::{Decision, Wake};
use crate::workspaces::content::step::Step;
use crate::workspaces::marks::annotation;

/// What a limit does when it ends.
const LIMITS: [&str; 2] = ["limit reached", "stopping took too long"];

/// Rows that a limit goes before.
const BELOW: [&str; 4] = [
    "nothing to do",
    "waiting for the pod to end",
    "ready",
    "content needs nobody",
];

/// The actions, but for the texts that say when something happened, or how long it took.
fn actions(decision: &Decision<Step>) -> Vec<Action> {
    if LIMITS.contains(&decision.rule) {
        return Vec::new();
    }
    let mut actions = decision.actions.clone();
    for action in &mut actions {
        if let Action::Mark(_, mark) = action
            && let Some(since) = mark.set.get_mut(annotation::STOPPED)
        {
            since.clear();
        }
    }
    actions
}

proptest! {
    #[test]
    fn nothing_changes_before_it_wakes(
        pod in mutate::pods(),
        marks in marks(),
        node in prop::sample::select(vec![Value::Null, mutate::node(), json!("gone")]),
        daemon: bool,
        bus: Option<bool>,
        passed in 0..130_000i64,
        active in prop::option::of(0..130_000i64),
        part in 0.0..1.0f64,
    ) {
        let mut case = case(pod, &marks, daemon, bus);
        case.node = node;
        let begun = case.now;
        case.now = begun + SignedDuration::from_secs(passed);
        case.activity = active.map(|at| begun + SignedDuration::from_secs(at.min(passed)));
        let (_, first) = case.pass();
        let Some(Wake { at: wakes, reason, .. }) = first.wake_at else { return Ok(()) };
        prop_assert!(wakes > case.now);
        let wait = wakes.duration_since(case.now);
        let nanosecond = SignedDuration::from_nanos(1);
        for moment in [case.now + wait.mul_f64(part), wakes - nanosecond] {
            case.now = moment.min(wakes - nanosecond);
            let (_, then) = case.pass();
            prop_assert_eq!(then.rule, first.rule);
            prop_assert_eq!(actions(&then), actions(&first));
            prop_assert_eq!(then.wake_at, first.wake_at);
        }
        case.now = wakes;
        let (_, then) = case.pass();
        prop_assert!(then.wake_at.is_none_or(|wake| wake.at > wakes));
        let limit = reason.ends_with("timeout") || reason == "maximum lifetime";
        if limit && BELOW.contains(&first.rule) {
            prop_assert!(LIMITS.contains(&then.rule), "{reason} ends in {:?}", then.rule);
        }
    }
}
