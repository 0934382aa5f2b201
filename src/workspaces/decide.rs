//! The lifecycle: one workspace as the index holds it in, the writes it needs now and the next moment to look out
//! (docs/protocol.md#lifecycle).

mod content;
mod content_step;
mod stopping;
mod timeouts;

use std::time::Duration;

pub use content_step::ContentStep;
use jiff::Timestamp;

use super::content::Content;
use super::content::report::Saving;
use super::content::step::Step;
use super::entry::Workspace;
use super::maintenance::{FOR_EVER, Switch};
use super::marks::annotation;
use super::pod_state::{PodPhase, PodState};
use super::recreate;
use crate::action::{Action, Mark, PodRef};
use crate::config::{Services, Timeouts};
use crate::decision::{Decision, Wake};
use crate::index::noun::Group;
use crate::proto::wsman::WorkspacePhase;

/// What the configuration says about the lifecycle.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LifecyclePolicy {
    /// The limits of docs/protocol.md#timeouts; `None`: nothing times out.
    pub timeouts: Option<Timeouts>,
    /// Until when timeouts and completions wait; stops by request go on (docs/operations.md#maintenance).
    pub maintenance: Option<Timestamp>,
    /// How long after its rejection a pod is made again.
    pub recreate_after: Duration,
    /// Which Services workspaces have.
    pub services: Services,
    /// Backend for the content of workspaces.
    pub content: Content,
    /// There is a store in which the last backup of a workspace can be looked up.
    pub has_backups: bool,
    /// How long after its grace a pod that still stops is reported; `None`: never.
    pub report_stuck_after: Option<Duration>,
    /// How long a stopped pod is held until the message bus has confirmed its STOPPED; `None`: there is no bus.
    pub announce_within: Option<Duration>,
}

impl LifecyclePolicy {
    /// Returns the rules while a ConfigMap may switch maintenance on, too.
    pub fn under(&self, switch: Switch) -> Self {
        Self {
            maintenance: switch.end(self.maintenance),
            ..self.clone()
        }
    }

    /// Whether timeouts and completions wait now.
    pub fn in_maintenance(&self, now: Timestamp) -> bool {
        self.maintenance.is_some_and(|end| end > now)
    }
}

/// Decides what the newest pod of a workspace needs (docs/protocol.md#lifecycle).
pub(super) fn decide(
    group: &Group<Workspace>,
    activity: Option<Timestamp>,
    policy: &LifecyclePolicy,
    now: Timestamp,
) -> Decision<Step> {
    let case = Case::new(group, activity, policy, now);
    let row = Case::TABLE.iter().find(|row| (row.when)(&case));
    let step = row.and_then(|row| row.step).map(|step| step(&case));
    Decision {
        rule: row.map_or("nothing to do", |row| row.name),
        actions: row.map_or_else(Vec::new, |row| (row.then)(&case)),
        step: step.or_else(|| case.node_step().map(Step::Node)),
        wake_at: case.wake_at(),
        ..Decision::default()
    }
}

/// Returns which step of its content a workspace waits for.
pub fn content_step(
    group: &Group<Workspace>,
    activity: Option<Timestamp>,
    policy: &LifecyclePolicy,
    now: Timestamp,
) -> Option<ContentStep> {
    Case::new(group, activity, policy, now).content_step()
}

/// One row: the first whose predicate holds decides.
struct Row<'a> {
    name: &'static str,
    when: fn(&Case<'a>) -> bool,
    then: fn(&Case<'a>) -> Vec<Action>,
    /// What goes on while it decides.
    step: Option<fn(&Case<'a>) -> Step>,
}

impl<'a> Row<'a> {
    const fn with(self, step: fn(&Case<'a>) -> Step) -> Self {
        Self {
            step: Some(step),
            ..self
        }
    }
}

#[rustfmt::skip]
impl<'a> Case<'a> {
    /// The lifecycle. Above the line the workspace is ending, below it lives.
    const TABLE: &'a [Row<'a>] = &[
        row("classic start is over", Self::start_is_over, Self::clear_attempt),
        row("half deleted", Self::is_half_deleted, Self::delete_again),
        row("stopped, not announced yet", Self::awaits_bus, Self::hold),
        row(BUS_IS_SILENT, Self::bus_is_silent, Self::let_go),
        row("stopped", Self::is_stopped, Self::let_go),
        row("rejected, on its way out", Self::is_replaced, Self::make_again),
        row("content not saved", Self::seeks_backup, Self::wait).with(Self::look_up),
        row("node lost while stopping", Self::stops_on_lost_node, Self::force),
        row("volume is snapshotted", Self::snapshots_volume, Self::wait).with(Self::snapshot_volume),
        row("pod ended", Self::stops_and_ended, Self::finish),
        row("stopping took too long", Self::stop_expired, Self::give_up),
        row("content is disposed of", Self::disposes, Self::wait),
        row("grace is over", Self::is_stuck, Self::report_stuck),
        row("waiting for the pod to end", Self::is_deleting, Self::wait),
        // ---
        row("completed, but maintenance", Self::completion_waits, Self::wait),
        row("completed", Self::is_completed, Self::stop),
        row("failed", Self::is_failed, Self::fail),
        row("timed out, but maintenance", Self::timeout_waits, Self::wait),
        row("timed out", Self::is_timed_out, Self::stop),
        row("stopped by request", Self::is_asked_to_stop, Self::stop_as_asked),
        row("node lost", Self::lives_on_lost_node, Self::fail_for_node),
        row("secret missing", Self::lacks_secret, Self::fail_for_secret),
        row("rejected for too long", Self::rejected_too_long, Self::mark_timeout),
        row("rejected", Self::is_rejected, Self::make_again),
        row("failed without a reason", Self::failed_silently, Self::fail_silently),
        row("limit reached", Self::limit_reached, Self::mark_timeout),
        row("ready", Self::became_ready, Self::mark_ready),
        row("content is initialized", Self::is_filled_by_node, Self::wait),
        row("content needs nobody", Self::init_is_free, Self::mark_initialized),
    ];
}

const fn row<'a>(
    name: &'static str,
    when: fn(&Case<'a>) -> bool,
    then: fn(&Case<'a>) -> Vec<Action>,
) -> Row<'a> {
    Row {
        name,
        when,
        then,
        step: None,
    }
}

/// What [`LifecyclePolicy::report_stuck_after`] should be: a kubelet that lives ends a pod seconds after its grace.
pub const REPORT_STUCK_AFTER: Duration = Duration::from_secs(60);

/// The rule that lets a stopped pod go although the message bus has not confirmed its STOPPED.
pub const BUS_IS_SILENT: &str = "stopped, but the message bus is silent";

/// Grace of every stop that nobody asked for.
const STOP_GRACE: Duration = Duration::from_secs(30);

/// A Secret is created right after its pod; one that its node has not found for this long will not come.
const SECRET_TIMEOUT: Duration = Duration::from_secs(60);

/// What a workspace fails with whose node is gone.
const NODE_VANISHED: &str = "workspace node disappeared before backup was taken";

/// Longest failure text that is recorded on a pod: all annotations together may have 256 KiB.
const FAILURE_LIMIT: usize = 8 * 1024;

/// Everything that one decision is made from.
struct Case<'a> {
    group: &'a Group<Workspace>,
    pod: &'a PodRef,
    state: &'a PodState,
    activity: Option<Timestamp>,
    policy: &'a LifecyclePolicy,
    now: Timestamp,
}

impl<'a> Case<'a> {
    fn new(
        group: &'a Group<Workspace>,
        activity: Option<Timestamp>,
        policy: &'a LifecyclePolicy,
        now: Timestamp,
    ) -> Self {
        let newest = group.newest();
        Self {
            group,
            pod: &newest.pod,
            state: &newest.entry.state,
            activity,
            policy,
            now,
        }
    }
}

// === Predicates of the living ===

impl Case<'_> {
    /// The mark of a start whose caller is gone would show PENDING for ever.
    fn start_is_over(&self) -> bool {
        let state = self.state;
        let is_over = matches!(state.pod_phase, PodPhase::Succeeded | PodPhase::Failed);
        state.attempting && (state.bound || state.deleting.is_some() || is_over)
    }

    fn is_completed(&self) -> bool {
        self.phase() == WorkspacePhase::Stopping
    }

    fn completion_waits(&self) -> bool {
        self.is_completed() && self.in_maintenance() && !self.is_asked_to_stop()
    }

    fn is_failed(&self) -> bool {
        !self.failure().is_empty()
    }

    fn is_timed_out(&self) -> bool {
        self.state.timed_out
    }

    fn timeout_waits(&self) -> bool {
        self.is_timed_out() && self.in_maintenance() && !self.is_asked_to_stop()
    }

    fn is_asked_to_stop(&self) -> bool {
        self.state.stop_grace.is_some()
    }

    /// A pod whose init containers run is Pending, and never more than that without its node.
    fn lives_on_lost_node(&self) -> bool {
        let runs = self.state.pod_phase == PodPhase::Running;
        (runs || self.phase() == WorkspacePhase::Initializing) && self.node_is_lost()
    }

    fn lacks_secret(&self) -> bool {
        self.secret_due().is_some_and(|due| due <= self.now)
    }

    /// The fold shows a rejected pod as PENDING only while it is to be made again.
    fn is_rejected(&self) -> bool {
        self.state.rejected && self.phase() == WorkspacePhase::Pending
    }

    fn is_replaced(&self) -> bool {
        self.is_rejected() && self.is_deleting()
    }

    fn rejected_too_long(&self) -> bool {
        self.is_rejected() && self.limit_reached()
    }

    /// A pod can fail without telling why (P17 of docs/protocol.md#phases); nothing else would ever end it.
    fn failed_silently(&self) -> bool {
        self.state.pod_phase == PodPhase::Failed
    }

    fn limit_reached(&self) -> bool {
        !self.in_maintenance() && self.expired().is_some()
    }

    /// The kubelet's Ready condition counts; headless workspaces skip INITIALIZING. Where a ws-daemon fills them it is asked
    /// once more.
    fn became_ready(&self) -> bool {
        self.state.never_ready_mark
            && match self.phase() {
                WorkspacePhase::Running => true,
                WorkspacePhase::Initializing => {
                    self.state.kubelet_ready && self.policy.content != Content::WsDaemon
                }
                _ => false,
            }
    }

    /// Without a backend initialisation is done as soon as the pod runs.
    fn init_is_free(&self) -> bool {
        self.phase() == WorkspacePhase::Creating
            && self.state.pod_phase == PodPhase::Running
            && self.policy.content != Content::WsDaemon
            && !self.state.initialized
    }
}

// === Actions for the living ===

impl Case<'_> {
    fn wait(&self) -> Vec<Action> {
        Vec::new()
    }

    fn clear_attempt(&self) -> Vec<Action> {
        vec![self.unmark(annotation::ATTEMPTING_TO_CREATE)]
    }

    fn stop(&self) -> Vec<Action> {
        vec![Action::Stop(self.pod.clone(), self.with_save(STOP_GRACE))]
    }

    fn stop_as_asked(&self) -> Vec<Action> {
        let grace = self.state.stop_grace.unwrap_or(STOP_GRACE);
        vec![Action::Stop(self.pod.clone(), self.with_save(grace))]
    }

    /// The guest saves inside the grace of its pod.
    fn with_save(&self, grace: Duration) -> Duration {
        let timeouts = self.policy.timeouts.as_ref().filter(|_| self.saves());
        grace + timeouts.map_or(Duration::ZERO, |t| t.content_finalization.to_std())
    }

    /// The mark goes first: once the pod is being deleted the failure can no longer be distinguished from the stop.
    fn fail(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if !self.state.failed_before_stopping {
            let mut marks = vec![(annotation::FAILED_BEFORE_STOPPING, "true".to_owned())];
            if !self.state.explicit_fail && !self.state.failure_recorded {
                marks.push((annotation::FAILURE, shortened(self.failure())));
            }
            actions.push(self.mark(marks));
        }
        actions.extend(self.stop());
        actions
    }

    fn fail_for_node(&self) -> Vec<Action> {
        self.fail_with(NODE_VANISHED)
    }

    fn fail_for_secret(&self) -> Vec<Action> {
        self.fail_with(
            "workspace failed to start: the Secret with its environment is missing, \
             because its start was interrupted",
        )
    }

    fn fail_silently(&self) -> Vec<Action> {
        self.fail_with("workspace pod failed without giving a reason")
    }

    /// Only marks: the mark makes the workspace failed, and the next pass stops it.
    fn fail_with(&self, why: &str) -> Vec<Action> {
        vec![self.mark(vec![
            (annotation::EXPLICIT_FAIL, why.to_owned()),
            (annotation::FAILED_BEFORE_STOPPING, "true".to_owned()),
        ])]
    }

    /// Only marks: the mark makes the workspace timed out, and the next pass stops it.
    fn mark_timeout(&self) -> Vec<Action> {
        let message = self.expired().map(|limit| limit.message(self.now));
        let marks = message.map(|text| self.mark(vec![(annotation::TIMED_OUT, text)]));
        marks.into_iter().collect()
    }

    /// Not in maintenance: a pod that is made again is a pod that is started.
    fn make_again(&self) -> Vec<Action> {
        let due = self.remade_at().is_none_or(|at| at <= self.now);
        if !due || self.in_maintenance() {
            return Vec::new();
        }
        recreate::make_again(self.group)
    }

    fn mark_ready(&self) -> Vec<Action> {
        vec![self.unmark(annotation::NEVER_READY)]
    }

    fn mark_initialized(&self) -> Vec<Action> {
        let mut mark = Mark::default();
        mark.set.insert(
            annotation::ALREADY_INITIALIZING.to_owned(),
            "true".to_owned(),
        );
        if self.state.never_ready_mark && self.state.kubelet_ready {
            mark.remove.push(annotation::NEVER_READY.to_owned());
        }
        vec![Action::Mark(self.pod.clone(), mark)]
    }
}

// === What several rows ask ===

impl Case<'_> {
    /// The guest has content to save, and is not aborted.
    fn saves(&self) -> bool {
        let state = self.state;
        state.saving == Saving::Waits && !state.abort
    }

    fn phase(&self) -> WorkspacePhase {
        self.group.phase()
    }

    fn failure(&self) -> &str {
        &self.state.failure
    }

    fn is_headless(&self) -> bool {
        self.state.headless
    }

    fn node_is_lost(&self) -> bool {
        self.state.node_gone || self.state.node_lost_at.is_some_and(|at| at <= self.now)
    }

    fn in_maintenance(&self) -> bool {
        self.policy.in_maintenance(self.now)
    }

    /// When a rejected pod is made again.
    fn remade_at(&self) -> Option<Timestamp> {
        let state = self.state;
        let rejected = state
            .reported
            .max(state.created)
            .filter(|_| self.is_rejected())?;
        rejected.checked_add(self.policy.recreate_after).ok()
    }

    /// When a missing Secret counts as lost.
    fn secret_due(&self) -> Option<Timestamp> {
        let since = self.state.secret_missing_since?;
        let open = !self.state.explicit_fail;
        since.checked_add(SECRET_TIMEOUT).ok().filter(|_| open)
    }

    /// The earliest of all moments at which a predicate turns true by itself.
    fn wake_at(&self) -> Option<Wake> {
        let node = self.state.node_lost_at;
        let eviction = self.state.evicted_at.filter(|_| self.is_deleting());
        let mut moments = vec![
            (self.stuck_at(), "report stuck stopping", ""),
            (node, "node lost", ""),
            (eviction, "node drives the pod away", ""),
            (self.half_deleted_at(), "half deleted", ""),
            (self.secret_due(), "secret missing", ""),
            (self.silent_at(), BUS_IS_SILENT, "messagebus.stoppedTimeout"),
        ];
        if self.in_maintenance() {
            let end = self.policy.maintenance.filter(|end| *end < FOR_EVER);
            moments.push((
                end,
                "maintenance ends",
                "ConfigMap ws-manager-mk2-maintenance-mode",
            ));
        } else {
            moments.push((
                self.remade_at(),
                "rejected pod made again",
                "manager.podRecreationBackoff",
            ));
            let running = self.limits().into_iter();
            moments.extend(running.map(|limit| (limit.ends_at(), limit.reason, limit.source)));
        }
        let future = moments.into_iter().filter_map(|(at, reason, source)| {
            Some(Wake {
                at: at?,
                reason,
                source,
            })
        });
        future.filter(|wake| wake.at > self.now).min()
    }

    fn mark(&self, marks: Vec<(&str, String)>) -> Action {
        let set = marks.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let remove = Vec::new();
        Action::Mark(self.pod.clone(), Mark { set, remove })
    }

    fn unmark(&self, key: &str) -> Action {
        Action::Mark(self.pod.clone(), Mark::put(key, None))
    }
}

fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(FAILURE_LIMIT)].to_owned()
}
