//! What every service is handed: how a call is let in, by when it is answered, and how a change outlives its caller.

use std::time::Duration;

use http::HeaderMap;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;
use tonic::Request;
use tracing::{Instrument, Span};

use super::deadline;
use super::limits::Limits;
use super::methods::{Method, UNARY};
use crate::error::Error;
use crate::tasks::Drain;

/// A mutation that runs into the deadline gets to say what it met.
const LAST_WORD: Duration = Duration::from_millis(20);

/// What all calls of a server share.
#[derive(Debug, Clone)]
pub struct CallContext {
    drain: Drain,
    limits: watch::Receiver<Limits>,
}

/// One call that was let in, among the extensions of its request.
#[derive(Debug, Clone, Copy)]
pub struct Call {
    /// By when it is answered.
    pub deadline: Instant,
}

/// Takes a request apart: what it asks, and by when it is answered.
pub fn take<T>(request: Request<T>) -> (T, Instant) {
    let (metadata, extensions, message) = request.into_parts();
    let deadline = match extensions.get::<Call>() {
        Some(call) => call.deadline,
        None => deadline::of(metadata.as_ref(), UNARY),
    };
    (message, deadline)
}

impl CallContext {
    /// Returns the context of a server that ends with `drain`.
    pub fn new(drain: Drain, limits: watch::Receiver<Limits>) -> Self {
        Self { drain, limits }
    }

    /// Lets the call of a unary method in.
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
            // Who still waits for a token when the server drains gets none.
            () = self.drain.refuse.cancelled() => self.check_open()?,
        }
        Ok(Call { deadline })
    }

    /// Refuses new work while the server drains.
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

    /// How the server ends.
    pub fn drain(&self) -> &Drain {
        &self.drain
    }

    /// The tasks that the server waits for when it ends.
    pub fn mutations(&self) -> &TaskTracker {
        &self.drain.mutations
    }

    /// Runs a mutation to its end even if the caller hangs up, and answers by its deadline.
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
