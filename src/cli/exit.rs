//! Turns the failure of a command into one clear line on standard error and the exit code that scripts rely on.

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use serde_json::json;
use tonic::{Code, Status};
use tonic_types::StatusExt;

use super::escape::{escape, escape_json};

/// The exit codes; scripts depend on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    Failed = 1,
    /// Wrong usage, or input that can never work.
    Usage = 2,
    /// No such workspace, session, component or pool.
    NotFound = 3,
    /// Right call, wrong state; or something else holds that id.
    Conflict = 4,
    /// No capacity, or too many requests.
    Exhausted = 5,
    /// No answer; the only failure that scripts may retry blindly.
    Unavailable = 6,
    /// A session was stopped by request before it ended. One that failed is [`Exit::Failed`].
    Cancelled = 7,
}

/// The failure of a command.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    /// One line, without a period.
    message: String,
    /// Further lines, such as the fields that a server rejects.
    details: Vec<String>,
    /// What to try next.
    hint: Option<String>,
    /// The name of the gRPC code, and the server's reason, if any.
    code: Option<(&'static str, Option<String>)>,
}

/// The format of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Lines for people.
    Text,
    /// One JSON object in one line.
    Json,
}

impl Style {
    /// Looks for `-o json` before the arguments were understood, or where they cannot be.
    pub fn of_arguments(arguments: impl IntoIterator<Item = OsString>) -> Self {
        let mut follows = false;
        for argument in arguments {
            let argument = argument.to_string_lossy();
            let value = match argument.as_ref() {
                text if follows => Some(text),
                "--" => return Self::Text,
                text => text
                    .strip_prefix("--output=")
                    .or_else(|| text.strip_prefix("-o=").or_else(|| text.strip_prefix("-o"))),
            };
            if value == Some("json") {
                return Self::Json;
            }
            follows = !follows && matches!(argument.as_ref(), "-o" | "--output");
        }
        Self::Text
    }
}

impl Failure {
    /// Returns a failure with this exit code.
    pub fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
            details: Vec::new(),
            hint: None,
            code: None,
        }
    }

    /// Returns a usage error: arguments or input that can never work.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// Adds further lines, such as one for each problem.
    #[must_use]
    pub fn details(mut self, lines: Vec<String>) -> Self {
        self.details = lines;
        self
    }

    /// Adds what to try next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Puts the context in front of the message.
    #[must_use]
    pub fn context(mut self, context: &str) -> Self {
        self.message = format!("{context}: {}", self.message);
        self
    }

    /// Returns the failure of a call to the server at `address`.
    pub fn from_status(status: &Status, address: &str) -> Self {
        let mut failure = Self::new(exit_of(status), sentence(status));
        failure.code = Some((code_name(status.code()), reason(status)));
        if let Some(request) = status.get_details_bad_request() {
            let lines = request
                .field_violations
                .iter()
                .map(|v| format!("{}: {}", v.field, v.description));
            failure.details.extend(lines);
        }
        if let Some(wait) = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay)
        {
            // A wait is printed in seconds, and never as zero.
            let seconds = wait.as_millis().div_ceil(1000).max(1);
            failure.details.push(format!("try again in {seconds} s"));
        }
        let info = status.get_details_error_info();
        if let Some(end) = info.and_then(|mut info| info.metadata.remove("until")) {
            failure.details.push(format!("it ends at {end}"));
        }
        match hint(status) {
            Some(hint) => failure.hint(format!("tried {address}; {hint}")),
            None => failure,
        }
    }

    /// The error, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Further lines, such as one for each problem.
    pub fn lines(&self) -> &[String] {
        &self.details
    }

    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl From<io::Error> for Failure {
    /// A failed write is a failure, except for a closed pipe: `wsman ... | head` succeeds.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(Exit::Ok, ""),
            _ => Self::new(Exit::Failed, format!("cannot write: {error}")),
        }
    }
}

impl From<anyhow::Error> for Failure {
    /// Includes each cause once.
    fn from(error: anyhow::Error) -> Self {
        Self::new(Exit::Failed, format!("{error:#}"))
    }
}

/// Prints the failure, if there is one, and returns the exit code.
pub fn report(result: Result<(), Failure>, style: Style) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            print(&failure, style);
            ExitCode::from(failure.exit as u8)
        }
    }
}

/// Prints the failure on standard error.
pub fn print(failure: &Failure, style: Style) {
    if failure.exit == Exit::Ok {
        return;
    }
    let text = match style {
        Style::Text => text(failure),
        Style::Json => json(failure),
    };
    // Without standard error nothing can be printed.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn text(failure: &Failure) -> String {
    let mut text = format!("error: {}\n", escape(&failure.message));
    for line in &failure.details {
        text.push_str(&format!("  {}\n", escape(line)));
    }
    if let Some(hint) = &failure.hint {
        text.push_str(&format!("hint: {}\n", escape(hint)));
    }
    text
}

fn json(failure: &Failure) -> String {
    let mut error = json!({ "exit_code": failure.exit as u8, "message": failure.message });
    if let Some((code, reason)) = &failure.code {
        error["code"] = json!(code);
        if let Some(reason) = reason {
            error["reason"] = json!(reason);
        }
    }
    if !failure.details.is_empty() {
        error["details"] = json!(failure.details);
    }
    if let Some(hint) = &failure.hint {
        error["hint"] = json!(hint);
    }
    format!("{}\n", escape_json(&json!({ "error": error }).to_string()))
}

/// Prints a remark on standard error, beside the result.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{}", escape(text));
}

/// A hint, if the connection failed rather than the call.
fn hint(status: &Status) -> Option<&'static str> {
    match status.code() {
        Code::Unavailable if !is_of_transport(status) => Some("it answers, so this may pass"),
        Code::Unavailable | Code::DeadlineExceeded => {
            Some("is the daemon running there? -H or WSMAN_HOST sets the address")
        }
        Code::Cancelled | Code::Internal | Code::Unknown if is_of_transport(status) => {
            Some("does it speak gRPC there, with or without TLS as the address says?")
        }
        _ => None,
    }
}

/// A status of the server has no source; one of the transport has.
fn is_of_transport(status: &Status) -> bool {
    status.source().is_some()
}

/// By the gRPC code; for UNKNOWN, which older servers send, by the stable reason.
fn exit_of(status: &Status) -> Exit {
    match status.code() {
        Code::Ok => Exit::Ok,
        Code::InvalidArgument | Code::OutOfRange => Exit::Usage,
        Code::NotFound => Exit::NotFound,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => Exit::Conflict,
        Code::ResourceExhausted => Exit::Exhausted,
        Code::Unavailable | Code::DeadlineExceeded => Exit::Unavailable,
        // A connection that breaks within a call has one of many codes.
        Code::Cancelled | Code::Internal | Code::Unknown if is_of_transport(status) => {
            Exit::Unavailable
        }
        Code::Unknown => match reason(status).as_deref() {
            Some("INVALID") => Exit::Usage,
            Some("NOT_FOUND") => Exit::NotFound,
            Some("EXISTS" | "PRECONDITION") => Exit::Conflict,
            Some("EXHAUSTED") => Exit::Exhausted,
            Some("UNAVAILABLE") => Exit::Unavailable,
            _ => Exit::Failed,
        },
        Code::Cancelled
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::Unimplemented
        | Code::Internal
        | Code::DataLoss => Exit::Failed,
    }
}

fn reason(status: &Status) -> Option<String> {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .filter(|reason| !reason.is_empty())
}

/// A status in one line, with the name of its code.
pub fn sentence(status: &Status) -> String {
    let mut text = match status.code() {
        Code::Unimplemented => "the server does not implement this".to_owned(),
        code => code.description().trim_end_matches('.').to_owned(),
    };
    if !status.message().is_empty() {
        text = match status.code() {
            Code::Unimplemented => format!("{text}: {}", status.message()),
            _ => status.message().to_owned(),
        };
    }
    if let Some(cause) = root_cause(status)
        && !text.contains(&cause)
    {
        text.push_str(": ");
        text.push_str(&cause);
    }
    let name = code_name(status.code());
    match reason(status).filter(|reason| reason != name) {
        Some(reason) => format!("{text} ({name}, {reason})"),
        None => format!("{text} ({name})"),
    }
}

/// The last cause, such as "Connection refused (os error 111)", which has the most detail.
fn root_cause(status: &Status) -> Option<String> {
    let mut cause = status.source()?;
    while let Some(next) = cause.source() {
        cause = next;
    }
    Some(cause.to_string())
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_style_is_known_before_the_arguments_are() {
        let style = |line: &str| Style::of_arguments(line.split_whitespace().map(OsString::from));
        for line in [
            "client -o json list",
            "-ojson x",
            "a --output=json",
            "--output json",
            "-o=json",
        ] {
            assert_eq!(style(line), Style::Json, "{line}");
        }
        for line in [
            "client list",
            "-o yaml",
            "-o",
            "json -o table json",
            "-- -o json",
            "--owner json",
        ] {
            assert_eq!(style(line), Style::Text, "{line}");
        }
    }
}
