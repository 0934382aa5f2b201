//! A report of a batch for CI, as JUnit XML: a suite per file, a case per session.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::super::super::words::timestamp;
use super::super::words;
use super::batch::{Batch, Run, State};
use crate::cli::exit::{Exit, Failure};
use crate::proto::wsman::sessions::v1::{Phase, Session};

/// Writes the report. `tails` has the end of the decider's log of each session.
pub(super) fn write(batch: &Batch, tails: &[String]) -> Result<String, Failure> {
    let mut report = Report::new("wsman");
    let mut suites: Vec<TestSuite> = Vec::new();
    for (run, tail) in batch.runs.iter().zip(tails) {
        let case = case(run, tail);
        match suites
            .iter_mut()
            .find(|suite| suite.name.as_str() == run.file)
        {
            Some(suite) => {
                suite.add_test_case(case);
            }
            None => {
                let mut suite = TestSuite::new(run.file.as_str());
                suite.add_test_case(case);
                suites.push(suite);
            }
        }
    }
    report.add_test_suites(suites);
    report.to_string().map_err(|error| {
        let message = format!("cannot write the report: {error}");
        Failure::new(Exit::Failed, message)
    })
}

fn case(run: &Run, tail: &str) -> TestCase {
    let mut case = TestCase::new(run.name.as_str(), status(run, tail));
    case.set_classname(run.queue());
    case.add_property(("session", run.id()));
    if let Some(session) = run.session() {
        case.set_time(duration(session));
        let times = words::times(session);
        let steps = [
            ("enqueued", times.enqueued),
            ("admitted", times.admitted),
            ("running", times.running),
            ("finished", times.finished),
        ];
        for (name, time) in steps {
            if let Some(time) = time.as_ref().and_then(timestamp) {
                case.add_property((name, time.to_string().as_str()));
            }
        }
    }
    case
}

fn status(run: &Run, tail: &str) -> TestCaseStatus {
    let (kind, code, message) = match &run.state {
        State::Ended(session) => {
            let reason = session.status.as_ref().map_or("", |status| &status.reason);
            let kind = match words::phase_of(session) {
                Phase::Succeeded => return TestCaseStatus::success(),
                Phase::Cancelled => NonSuccessKind::Error,
                _ => NonSuccessKind::Failure,
            };
            let reason = match reason {
                "" => words::phase(session),
                reason => reason.to_owned(),
            };
            (kind, reason, words::why(session))
        }
        State::Refused(failure) => {
            let mut lines = vec![failure.message().to_owned()];
            lines.extend_from_slice(failure.lines());
            (
                NonSuccessKind::Error,
                "Refused".to_owned(),
                lines.join("; "),
            )
        }
        State::Skipped | State::Waiting => {
            let mut skipped = TestCaseStatus::skipped();
            skipped.set_message("it was not started: the batch was interrupted");
            return skipped;
        }
        State::Gone | State::Starting | State::Started(_) => {
            let message = "its end was not seen".to_owned();
            (NonSuccessKind::Error, "Unknown".to_owned(), message)
        }
    };
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(code).set_message(message);
    if !tail.is_empty() {
        status.set_description(tail);
    }
    status
}

/// How long it ran; one that never did, how long it was there.
fn duration(session: &Session) -> Duration {
    let times = words::times(session);
    let begin = times.running.or(times.enqueued);
    let stamp = |time: Option<pbjson_types::Timestamp>| time.as_ref().and_then(timestamp);
    let span = stamp(times.finished).zip(stamp(begin));
    let span = span.map(|(end, begin)| end.duration_since(begin));
    span.and_then(|span| Duration::try_from(span).ok())
        .unwrap_or_default()
}
