//! The timeouts of docs/protocol.md#timeouts: which limits apply to a workspace now, since when, and in which words
//! they expire.

use jiff::Timestamp;

use super::{Case, Content};
use crate::config::Timeouts;
use crate::duration::GoDuration;
use crate::proto::wsman::WorkspacePhase;
use crate::workspaces::marks::annotation;

/// One limit that is running.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limit {
    /// What it is called for `wake_at`.
    pub(super) reason: &'static str,
    /// The configuration key or annotation that sets it.
    pub(super) source: &'static str,
    activity: &'static str,
    limit: GoDuration,
    since: Timestamp,
}

/// How long something may take, and which configuration key or annotation says so.
type Sourced = (GoDuration, &'static str);

const INITIALIZATION: &str = "manager.timeouts.initialization";
const STARTUP: &str = "manager.timeouts.startup";

impl Limit {
    /// When it expires; none beyond the end of time.
    pub(super) fn ends_at(&self) -> Option<Timestamp> {
        let limit = jiff::SignedDuration::from_nanos(self.limit.as_nanos());
        self.since.checked_add(limit).ok()
    }

    /// The longest time that this limit allows.
    pub(super) fn limit(&self) -> GoDuration {
        self.limit
    }

    /// The text that clients know.
    pub(super) fn message(&self, now: Timestamp) -> String {
        let elapsed = now.as_nanosecond() - self.since.as_nanosecond();
        format!(
            "workspace timed out after {} ({}) took longer than {}",
            self.activity,
            minutes(elapsed),
            minutes(self.limit.as_nanos().into()),
        )
    }
}

impl Case<'_> {
    /// The first limit that is over: their order is that of the rows.
    pub(super) fn expired(&self) -> Option<Limit> {
        let mut limits = self.limits().into_iter();
        limits.find(|limit| limit.ends_at().is_some_and(|end| end <= self.now))
    }

    /// The limits that apply now. A workspace that is to be stopped already has none but those of stopping.
    pub(super) fn limits(&self) -> Vec<Limit> {
        let Some(timeouts) = &self.policy.timeouts else {
            return Vec::new();
        };
        if self.phase() == WorkspacePhase::Stopping {
            return self.stopping(timeouts).into_iter().collect();
        }
        let ends = self.state.timed_out || self.state.stop_grace.is_some() || self.is_failed();
        if ends || self.state.deleting.is_some() {
            return Vec::new();
        }
        let startup = configured(timeouts.startup, STARTUP);
        let rows = match self.phase() {
            WorkspacePhase::Pending => vec![self.since_creation(
                "initialization timeout",
                "initialization",
                configured(timeouts.initialization, INITIALIZATION),
            )],
            WorkspacePhase::Creating => {
                vec![self.since_creation("startup timeout", self.creating(), startup)]
            }
            WorkspacePhase::Initializing => {
                vec![self.since_creation("startup timeout", "startup", startup)]
            }
            WorkspacePhase::Running => self.running(timeouts),
            WorkspacePhase::Interrupted => vec![self.row(
                "interruption timeout",
                "workspace interruption",
                // Zero is a limit here: an interrupted workspace ends at once.
                Some((timeouts.interrupted, "manager.timeouts.interrupted")),
                self.activity.or(self.state.created),
            )],
            WorkspacePhase::Stopping | WorkspacePhase::Stopped | WorkspacePhase::Unknown => {
                Vec::new()
            }
        };
        rows.into_iter().flatten().collect()
    }

    fn running(&self, timeouts: &Timeouts) -> Vec<Option<Limit>> {
        let state = self.state;
        let marked = state.maximum_lifetime;
        let lifetime = marked.map(|limit| (limit, annotation::MAXIMUM_LIFETIME));
        let lifetime = lifetime.or(configured(
            timeouts.max_lifetime,
            "manager.timeouts.maxLifetime",
        ));
        let lifetime = self.since_creation("maximum lifetime", "maximum lifetime", lifetime);
        let custom = state.custom_timeout;
        let custom = custom.map(|limit| (limit, annotation::CUSTOM_TIMEOUT));
        if self.is_headless() {
            let limit = custom.or(configured(
                timeouts.headless_workspace,
                "manager.timeouts.headlessWorkspace",
            ));
            let activity = "running the headless workspace";
            return vec![
                lifetime,
                self.since_creation("headless timeout", activity, limit),
            ];
        }
        let inactivity = "period of inactivity";
        if self.activity.is_none() {
            let startup = configured(timeouts.startup, STARTUP);
            return vec![
                lifetime,
                self.since_creation("inactivity timeout", inactivity, startup),
            ];
        }
        let closed = match state.custom_closed_timeout {
            _ if !state.closed => None,
            Some(custom) if custom.as_nanos() == 0 => None,
            Some(custom) => Some((custom, annotation::CUSTOM_CLOSED_TIMEOUT)),
            None => configured(timeouts.after_close, "manager.timeouts.afterClose"),
        };
        let regular = custom.or(configured(
            timeouts.regular_workspace,
            "manager.timeouts.regularWorkspace",
        ));
        vec![
            lifetime,
            self.row(
                "closed timeout",
                "after being closed",
                closed,
                self.activity,
            ),
            self.row("inactivity timeout", inactivity, regular, self.activity),
        ]
    }

    /// A pod that stops: the longer limit only where there is a backup to wait for.
    fn stopping(&self, timeouts: &Timeouts) -> Option<Limit> {
        let backed_up = self.state.backed_up;
        let since = self.state.deleting;
        let saves = match self.policy.content {
            Content::WsDaemon => !backed_up,
            Content::None | Content::Guest => self.saves() || self.awaits_snapshot(),
        };
        match saves {
            true => {
                let limit = configured(
                    timeouts.content_finalization,
                    "manager.timeouts.contentFinalization",
                );
                self.row("backup timeout", "backup", limit, since)
            }
            false => {
                let limit = configured(timeouts.stopping, "manager.timeouts.stopping");
                self.row("stopping timeout", "stopping", limit, since)
            }
        }
    }

    fn creating(&self) -> &'static str {
        match self.state.pulling_images {
            true => "pulling images",
            false => "creating containers",
        }
    }

    fn since_creation(
        &self,
        reason: &'static str,
        activity: &'static str,
        limit: Option<Sourced>,
    ) -> Option<Limit> {
        self.row(reason, activity, limit, self.state.created)
    }

    fn row(
        &self,
        reason: &'static str,
        activity: &'static str,
        limit: Option<Sourced>,
        since: Option<Timestamp>,
    ) -> Option<Limit> {
        let (limit, source) = limit?;
        Some(Limit {
            reason,
            source,
            activity,
            limit,
            since: since?,
        })
    }
}

/// A limit that is not configured is no limit: an absent key must not end every workspace at once.
fn configured(limit: GoDuration, key: &'static str) -> Option<Sourced> {
    (limit.as_nanos() > 0).then_some((limit, key))
}

/// Hours and minutes, rounded to the nearest minute: "01h40m".
fn minutes(nanos: i128) -> String {
    const MINUTE: i128 = 60_000_000_000;
    let rounded = (nanos.abs() + MINUTE / 2) / MINUTE * nanos.signum();
    format!("{:02}h{:02}m", rounded / 60, rounded % 60)
}
