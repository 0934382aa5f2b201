//! The context of a call: its admission, its deadline, and a mutation that outlives its caller.

use std::time::Duration;

use http::HeaderMap;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tonic::Request;
use tracing::{Instrument, Span};

use super::deadline;
use super::limits::Limits;
use super::methods::{DEFAULT_DEADLINE, Method};
use crate::error::Error;
use crate::tasks::Drain;

/// Time for a mutation at its deadline to return its error.
const LAST_WORD: Duration = Duration::from_millis(20);

/// What all calls of a server share.
#[derive(Debug, Clone)]
pub struct CallContext {
    drain: Drain,
    limits: watch::Receiver<Limits>,
}

/// An admitted call, among the extensions of its request.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    pub deadline: Instant,
}

/// Returns the message of a request and its deadline.
pub fn take<T>(request: Request<T>) -> (T, Instant) {
    let (metadata, extensions, message) = request.into_parts();
    let deadline = match extensions.get::<Call>() {
        Some(call) => call.deadline,
        None => deadline::of(metadata.as_ref(), DEFAULT_DEADLINE),
    };
    (message, deadline)
}

impl CallContext {
    /// Returns the context of a server that ends with `drain`.
    pub fn new(drain: Drain, limits: watch::Receiver<Limits>) -> Self {
        Self { drain, limits }
    }

    /// Admits the call of a unary method.
    ///
    /// # Errors
    /// [`Error::Exhausted`] beyond the rate limit of the method.
    pub async fn admit(
        &self,
        method: &Method,
        metadata: &HeaderMap,
        message: &[u8],
    ) -> Result<Call, Error> {
        let deadline = deadline::of(metadata, method.default_deadline);
        let limits = self.limits.borrow().clone();
        tokio::select! {
            biased;
            passed = limits.pass(&method.path, message, deadline) => passed?,
            // A call that waits for a token when the server drains gets none.
            () = self.drain.refuse.cancelled() => self.check_open()?,
        }
        Ok(Call { deadline })
    }

    /// Rejects new work while the server drains.
    ///
    /// # Errors
    /// [`Error::Unavailable`] then.
    pub fn check_open(&self) -> Result<(), Error> {
        match self.drain.refuse.is_cancelled() {
            false => Ok(()),
            true => Err(Error::Unavailable {
                why: "this server is shutting down".to_owned(),
                retry_after: None,
            }),
        }
    }

    /// The shutdown of the server.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// The tasks that the server waits for at shutdown.
    pub fn mutations(&self) -> &TaskTracker {
        &self.drain.mutations
    }

    /// Runs a mutation to its end, also if the caller hangs up, and answers by its deadline.
    ///
    /// # Errors
    /// Those of the mutation; [`Error::Deadline`] if it takes longer, and [`Error::Unavailable`] while the server drains.
    pub async fn mutate<T: Send + 'static>(
        &self,
        doing: &str,
        deadline: Instant,
        span: Span,
        work: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> Result<T, Error> {
        self.check_open()?;
        let task = self.drain.mutations.spawn(work.instrument(span));
        match timeout_at(deadline + LAST_WORD, task).await {
            Err(_) => Err(Error::Deadline {
                doing: doing.to_owned(),
            }),
            Ok(Err(panic)) => Err(Error::Internal {
                why: format!("{doing}: {panic}"),
            }),
            Ok(Ok(outcome)) => outcome,
        }
    }
}
