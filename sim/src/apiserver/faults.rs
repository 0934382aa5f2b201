//! `Faults`: rules by which a test injects faults into the embedded API server, and the record of its requests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Faults of one server, and the record of its requests. Only in-process callers reach it.
#[derive(Clone)]
pub struct Faults(Arc<Shared>);

struct Shared {
    rules: Mutex<Vec<Rule>>,
    requests: Mutex<Option<Vec<Request>>>,
    watches: watch::Sender<u64>,
    strikes: watch::Sender<u64>,
    writes: Mutex<AtOnce>,
}

/// How many writes are being served, and the most at a time.
#[derive(Default)]
struct AtOnce {
    now: usize,
    most: usize,
}

/// A request that is being served.
pub(crate) struct Serving(Option<Faults>);

impl Drop for Serving {
    fn drop(&mut self) {
        if let Some(faults) = &self.0 {
            locked(&faults.0.writes).now -= 1;
        }
    }
}

/// Which requests fail, how, and how often.
struct Rule {
    method: String,
    path: String,
    /// If set, the rule is for the writes of this user agent.
    writer: Option<String>,
    skip: usize,
    times: usize,
    fault: Fault,
}

/// The fault of a request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Answered with this `Status`.
    Status {
        /// The HTTP code.
        code: u16,
        /// The machine-readable reason, such as `TooManyRequests`.
        reason: String,
        /// The text for people.
        message: String,
        /// Seconds for `Retry-After`.
        retry_after: Option<u32>,
    },
    /// Answered with a text and headers instead of a `Status`, as flow control and proxies do.
    Text {
        /// The HTTP code.
        code: u16,
        /// Names and values.
        headers: Vec<(&'static str, String)>,
        body: &'static str,
    },
    /// Served, but only after this time.
    Delay(Duration),
    /// The connection is closed and nothing is done.
    CutBefore,
    /// The request is served, and a write is stored, but the connection is closed before the response.
    CutAfter,
    /// A deletion is interrupted: the object has no grace period and no finalizer left, but it stays; and the
    /// connection is closed before the response. A real API server deletes in two steps, and may stop between them
    /// when its client is gone.
    CutHalfway,
    /// Never answered, as by a half-open connection.
    Hang,
    /// Answered with the HTTP status 410. A real API server sends 410 as an event of the watch;
    /// proxies and aggregated API servers may not.
    Gone,
}

/// A request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The path without its query.
    pub path: String,
    /// The query, empty if there is none.
    pub query: String,
    /// The client's `User-Agent`.
    pub user_agent: String,
}

impl Request {
    /// Whether it is a write. A review is created, but it changes nothing.
    pub fn is_write(&self) -> bool {
        matches!(self.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE")
            && !self.path.starts_with("/apis/authorization.k8s.io/")
    }
}

impl Default for Faults {
    fn default() -> Self {
        let (rules, requests) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared {
            rules,
            requests,
            watches: watch::Sender::new(0),
            strikes: watch::Sender::new(0),
            writes: Mutex::default(),
        }))
    }
}

impl Faults {
    /// Adds a rule: the next `times` requests of this method (empty: any) whose path and query contain `path`
    /// (empty: all) fail. Of several rules that match, the oldest applies.
    pub fn add(&self, method: &str, path: &str, times: usize, fault: Fault) {
        let rule = Rule {
            method: method.into(),
            path: path.into(),
            writer: None,
            skip: 0,
            times,
            fault,
        };
        locked(&self.0.rules).push(rule);
    }

    /// Adds a rule: of the next writes by clients whose `User-Agent` starts with `writer`, the one after `skip`
    /// others fails.
    pub fn add_to_write(&self, writer: &str, skip: usize, fault: Fault) {
        let rule = Rule {
            method: String::new(),
            path: String::new(),
            writer: Some(writer.into()),
            skip,
            times: 1,
            fault,
        };
        locked(&self.0.rules).push(rule);
    }

    /// Waits until every rule has applied as often as it should.
    pub async fn spent(&self) {
        let mut strikes = self.0.strikes.subscribe();
        while !locked(&self.0.rules).is_empty() {
            // The sender lives in `self`.
            let _ = strikes.changed().await;
        }
    }

    /// Removes all rules.
    pub fn clear(&self) {
        locked(&self.0.rules).clear();
    }

    /// Starts to record requests, with an empty record.
    pub fn record(&self) {
        *locked(&self.0.requests) = Some(Vec::new());
        let mut writes = locked(&self.0.writes);
        writes.most = writes.now;
    }

    /// The most concurrent writes since [`Self::record`].
    pub fn most_writes_at_once(&self) -> usize {
        locked(&self.0.writes).most
    }

    /// The requests since [`Self::record`], in order of arrival.
    pub fn requests(&self) -> Vec<Request> {
        locked(&self.0.requests).clone().unwrap_or_default()
    }

    /// Ends every open watch cleanly, as a server does with a slow watcher.
    pub fn end_watches(&self) {
        self.0.watches.send_modify(|count| *count += 1);
    }

    /// Changes when open watches end.
    pub(crate) fn watch_ends(&self) -> watch::Receiver<u64> {
        self.0.watches.subscribe()
    }

    /// Counts a write until what is returned is dropped.
    pub(crate) fn serving(&self, request: &Request) -> Serving {
        if !request.is_write() {
            return Serving(None);
        }
        let mut writes = locked(&self.0.writes);
        writes.now += 1;
        writes.most = writes.most.max(writes.now);
        Serving(Some(self.clone()))
    }

    /// Records the request and applies the first rule that matches it.
    pub(crate) fn strike(&self, request: Request) -> Option<Fault> {
        let target = format!("{}?{}", request.path, request.query);
        let fault = {
            let mut rules = locked(&self.0.rules);
            let found = rules.iter_mut().position(|rule| {
                let matches = match &rule.writer {
                    Some(writer) => request.is_write() && request.user_agent.starts_with(writer),
                    None => {
                        (rule.method.is_empty() || rule.method == request.method)
                            && target.contains(&rule.path)
                    }
                };
                let skips = matches && rule.skip > 0;
                rule.skip -= usize::from(skips);
                matches && !skips
            });
            found.map(|found| {
                let fault = rules[found].fault.clone();
                rules[found].times = rules[found].times.saturating_sub(1);
                if rules[found].times == 0 {
                    rules.remove(found);
                }
                self.0.strikes.send_modify(|count| *count += 1);
                fault
            })
        };
        if let Some(requests) = &mut *locked(&self.0.requests) {
            requests.push(request);
        }
        fault
    }
}

/// No holder of these locks panics, and each leaves its value whole.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
