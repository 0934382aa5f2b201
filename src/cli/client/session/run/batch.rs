//! The sessions of a batch: which may start, what is known of each, and what became of all. Pure.

use std::collections::BTreeMap;

use super::super::words;
use crate::cli::exit::{Exit, Failure};
use crate::proto::wsman::sessions::v1::{Phase, Session, StartSessionRequest};

/// The queue of a request that names none.
const DEFAULT_QUEUE: &str = "default";

/// How many sessions may be started and not ended at once.
#[derive(Debug, Default, Clone)]
pub(super) struct Limits {
    /// Of each queue without its own.
    pub(super) each: Option<usize>,
    pub(super) queues: BTreeMap<String, usize>,
}

/// One session of a batch.
#[derive(Debug)]
pub(super) struct Run {
    /// The file of its request.
    pub(super) file: String,
    /// Its name in the file.
    pub(super) name: String,
    pub(super) request: StartSessionRequest,
    pub(super) state: State,
}

/// What is known of a session.
#[derive(Debug)]
pub(super) enum State {
    /// Others of its queue come first.
    Waiting,
    /// Its start was not answered yet.
    Starting,
    Started(Box<Session>),
    Ended(Box<Session>),
    /// It was not started, and this is why.
    Refused(Failure),
    /// It was deleted before its end was seen.
    Gone,
    /// It was not started, because the batch was interrupted.
    Skipped,
}

/// Sessions in the order of their files.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) runs: Vec<Run>,
    limits: Limits,
}

impl Run {
    pub(super) fn id(&self) -> &str {
        &self.request.id
    }

    pub(super) fn queue(&self) -> &str {
        let queue = self.request.spec.as_ref().map(|spec| spec.queue.as_str());
        match queue {
            None | Some("") => DEFAULT_QUEUE,
            Some(queue) => queue,
        }
    }

    /// The name of its decider.
    pub(super) fn decider(&self) -> Option<&str> {
        let spec = self.request.spec.as_ref()?;
        if !spec.decider.is_empty() {
            return Some(&spec.decider);
        }
        let driver = spec.components.iter().find(|c| c.role == "driver");
        driver.map(|driver| driver.name.as_str())
    }

    /// The last status.
    pub(super) fn session(&self) -> Option<&Session> {
        match &self.state {
            State::Started(session) | State::Ended(session) => Some(session),
            _ => None,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.state, State::Starting | State::Started(_))
    }

    pub(super) fn is_over(&self) -> bool {
        !self.is_active() && !matches!(self.state, State::Waiting)
    }

    /// Why it did not succeed, and how bad that is.
    fn fault(&self) -> Option<(u8, Exit)> {
        match &self.state {
            State::Ended(session) => match words::phase_of(session) {
                Phase::Succeeded => None,
                Phase::Cancelled => Some((1, Exit::Cancelled)),
                _ => Some((3, Exit::Failed)),
            },
            State::Refused(failure) => Some((2, failure.exit())),
            _ => Some((3, Exit::Failed)),
        }
    }
}

impl Batch {
    pub(super) fn new(runs: Vec<Run>, limits: Limits) -> Self {
        Self { runs, limits }
    }

    /// Returns the sessions to start now, in their order, and marks them.
    pub(super) fn start(&mut self) -> Vec<usize> {
        let mut active: BTreeMap<String, usize> = BTreeMap::new();
        for run in self.runs.iter().filter(|run| run.is_active()) {
            *active.entry(run.queue().to_owned()).or_default() += 1;
        }
        let mut due = Vec::new();
        for (at, run) in self.runs.iter_mut().enumerate() {
            if !matches!(run.state, State::Waiting) {
                continue;
            }
            let queue = run.queue().to_owned();
            let limit = self.limits.queues.get(&queue).copied().or(self.limits.each);
            let active = active.entry(queue).or_default();
            if limit.is_none_or(|limit| *active < limit) {
                *active += 1;
                run.state = State::Starting;
                due.push(at);
            }
        }
        due
    }

    /// Puts a status in, unless it is old or of another session. Returns which session changed.
    pub(super) fn observe(&mut self, now: &Session) -> Option<usize> {
        let at = self.runs.iter().position(|run| run.id() == now.id)?;
        let run = &mut self.runs[at];
        let version = |session: &Session| session.status.as_ref().map_or(0, |s| s.version);
        match &run.state {
            State::Starting => {}
            State::Started(before) if version(now) > version(before) => {}
            _ => return None,
        }
        let now = Box::new(now.clone());
        run.state = match words::is_done(&now) {
            true => State::Ended(now),
            false => State::Started(now),
        };
        Some(at)
    }

    /// Nothing more is started. Returns the ids of what is to be stopped.
    pub(super) fn interrupt(&mut self) -> Vec<String> {
        for run in &mut self.runs {
            if matches!(run.state, State::Waiting) {
                run.state = State::Skipped;
            }
        }
        let started = self
            .runs
            .iter()
            .filter(|run| matches!(run.state, State::Started(_)));
        started.map(|run| run.id().to_owned()).collect()
    }

    pub(super) fn is_over(&self) -> bool {
        self.runs.iter().all(Run::is_over)
    }

    /// How many there are of each kind, in words.
    pub(super) fn summary(&self) -> String {
        let count = |is: &dyn Fn(&Run) -> bool| self.runs.iter().filter(|run| is(run)).count();
        let ended = |phase: Phase| {
            count(&|run| match &run.state {
                State::Ended(session) => words::phase_of(session) == phase,
                _ => false,
            })
        };
        let parts = [
            (ended(Phase::Succeeded), "succeeded"),
            (ended(Phase::Failed), "failed"),
            (ended(Phase::Cancelled), "cancelled"),
            (
                count(&|run| matches!(run.state, State::Refused(_))),
                "refused",
            ),
            (count(&|run| matches!(run.state, State::Gone)), "gone"),
            (
                count(&|run| matches!(run.state, State::Skipped)),
                "not started",
            ),
            (count(&Run::is_active), "active"),
            (count(&|run| matches!(run.state, State::Waiting)), "waiting"),
        ];
        let parts = parts.iter().filter(|(count, _)| *count > 0);
        let parts: Vec<_> = parts
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        let all = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        format!("{}: {}", words::count(all, "session"), parts.join(", "))
    }

    /// The failure of the batch, with the exit code of the worst: one that failed, then one that was refused, then one
    /// that was cancelled.
    pub(super) fn outcome(&self) -> Result<(), Failure> {
        let faults = self.runs.iter().filter_map(Run::fault);
        // Of several equal ones the first.
        let worst = faults.rev().max_by_key(|(rank, _)| *rank);
        match worst {
            None => Ok(()),
            Some((_, exit)) => Err(Failure::new(exit, self.summary())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wsman::sessions::v1::{SessionSpec, SessionStatus};

    fn batch(queues: &[&str], limits: Limits) -> Batch {
        let run = |(at, queue): (usize, &&str)| Run {
            file: "f".to_owned(),
            name: at.to_string(),
            request: StartSessionRequest {
                id: at.to_string(),
                spec: Some(SessionSpec {
                    queue: (*queue).to_owned(),
                    ..Default::default()
                }),
                ..Default::default()
            },
            state: State::Waiting,
        };
        let runs = queues.iter().enumerate().map(run).collect();
        Batch::new(runs, limits)
    }

    fn status(id: &str, phase: Phase, version: u64) -> Session {
        let status = SessionStatus {
            phase: phase.into(),
            version,
            done: phase as i32 >= Phase::Succeeded as i32,
            ..Default::default()
        };
        Session {
            id: id.to_owned(),
            status: Some(status),
            ..Default::default()
        }
    }

    #[test]
    fn each_queue_has_its_limit() {
        let limits = Limits {
            each: Some(1),
            queues: [("b".to_owned(), 2)].into(),
        };
        let mut batch = batch(&["a", "a", "b", "", "b", "b", "default"], limits);
        assert_eq!(batch.start(), [0, 2, 3, 4]);
        assert!(batch.start().is_empty());
        assert_eq!(batch.observe(&status("0", Phase::Running, 1)), Some(0));
        assert!(batch.start().is_empty());
        assert_eq!(batch.observe(&status("0", Phase::Failed, 2)), Some(0));
        assert_eq!(batch.start(), [1]);
        batch.runs[3].state = State::Refused(Failure::usage("no"));
        assert_eq!(batch.start(), [6]);
    }

    #[test]
    fn without_a_limit_all_start_at_once() {
        assert_eq!(
            batch(&["a", "a", "b"], Limits::default()).start(),
            [0, 1, 2]
        );
    }

    #[test]
    fn old_statuses_and_those_of_others_change_nothing() {
        let mut batch = batch(&["a"], Limits::default());
        // From before the start.
        assert_eq!(batch.observe(&status("0", Phase::Failed, 9)), None);
        batch.start();
        assert_eq!(batch.observe(&status("0", Phase::Running, 2)), Some(0));
        assert_eq!(batch.observe(&status("0", Phase::Queued, 1)), None);
        assert_eq!(batch.observe(&status("x", Phase::Running, 3)), None);
        assert_eq!(batch.observe(&status("0", Phase::Succeeded, 3)), Some(0));
        assert_eq!(batch.observe(&status("0", Phase::Running, 4)), None);
        assert!(batch.is_over() && batch.outcome().is_ok());
    }

    #[test]
    fn the_worst_outcome_sets_the_exit_code() {
        let mut batch = batch(&["a"; 4], Limits::default());
        batch.start();
        batch.observe(&status("0", Phase::Succeeded, 1));
        batch.observe(&status("1", Phase::Cancelled, 1));
        batch.runs[2].state = State::Refused(Failure::new(Exit::NotFound, "no such pool"));
        batch.runs[3].state = State::Refused(Failure::usage("bad"));
        let exit = |batch: &Batch| batch.outcome().unwrap_err().exit();
        assert_eq!(exit(&batch), Exit::NotFound);
        assert_eq!(
            batch.summary(),
            "4 sessions: 1 succeeded, 1 cancelled, 2 refused"
        );
        batch.runs[0].state = State::Gone;
        assert_eq!(exit(&batch), Exit::Failed);
        batch.runs.truncate(2);
        batch.runs.remove(0);
        assert_eq!(exit(&batch), Exit::Cancelled);
    }

    #[test]
    fn an_interrupted_batch_starts_nothing_more() {
        let limits = Limits {
            each: Some(2),
            ..Limits::default()
        };
        let mut batch = batch(&["a"; 4], limits);
        batch.start();
        batch.observe(&status("0", Phase::Succeeded, 1));
        batch.observe(&status("1", Phase::Running, 1));
        assert_eq!(batch.interrupt(), ["1"]);
        assert!(batch.start().is_empty());
        batch.observe(&status("1", Phase::Cancelled, 2));
        assert!(batch.is_over());
        assert_eq!(
            batch.summary(),
            "4 sessions: 1 succeeded, 1 cancelled, 2 not started"
        );
    }
}
