//! Watches: the events of a collection from a resourceVersion on, as a stream of lines.
//!
//! A watch is a cursor into the store's log. It has no queue, so a slow reader costs nothing and delays no other; when
//! the log has moved past it, it ends with a 410 event.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures::Stream;
use futures::stream::unfold;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::faults::Faults;
use super::request::Form;
use super::resources::{Index, RESOURCES};
use super::selectors::Selector;
use super::status::Status;
use super::store::{Change, Object, Store};
use super::table;

/// The number of changes that are read under the store's lock at a time.
const BATCH: usize = 256;
/// Interval of bookmarks on an idle watch.
const BOOKMARK_EVERY: Duration = Duration::from_secs(60);
/// How long before its end a watch gets its last bookmark.
const LAST_BOOKMARK: Duration = Duration::from_secs(2);

/// The target of a watch, and its start.
pub(crate) struct Watch {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) index: Index,
    pub(crate) prefix: String,
    pub(crate) selector: Selector,
    pub(crate) form: Form,
    pub(crate) start: Start,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Duration,
}

/// Where a watch starts.
pub(crate) enum Start {
    /// After this revision.
    After(u64),
    /// With the objects that exist now; `mark` asks for the bookmark that ends them.
    Now { mark: bool },
}

impl Watch {
    /// The watch as chunks of a response body; it ends at its timeout, or early with an ERROR event.
    pub(crate) fn lines(self) -> impl Stream<Item = Bytes> + Send {
        unfold(Cursor::new(self), |mut cursor| async move {
            Some((cursor.next().await?, cursor))
        })
    }
}

struct Cursor {
    watch: Watch,
    revision: u64,
    ready: VecDeque<Bytes>,
    changed: tokio::sync::watch::Receiver<u64>,
    ends: tokio::sync::watch::Receiver<u64>,
    deadline: Instant,
    bookmark_at: Instant,
    /// The rows of a table have their columns only once.
    columns_sent: bool,
    done: bool,
}

impl Cursor {
    fn new(watch: Watch) -> Self {
        let deadline = Instant::now() + watch.timeout;
        let (changed, initial) = watch.store.with(|state| {
            let changed = state.subscribe(watch.index);
            let initial = match watch.start {
                Start::After(_) => None,
                Start::Now { .. } => {
                    let objects = state
                        .range(watch.index, &watch.prefix, "")
                        .map(|(_, object)| object.clone());
                    Some((objects.collect::<Vec<_>>(), state.revision()))
                }
            };
            (changed, initial)
        });
        let revision = match (&watch.start, &initial) {
            (Start::After(revision), _) => *revision,
            (_, Some((_, revision))) => *revision,
            (_, None) => 0,
        };
        let mut cursor = Self {
            ends: watch.faults.watch_ends(),
            revision,
            ready: VecDeque::new(),
            changed,
            deadline,
            bookmark_at: Instant::now(),
            columns_sent: false,
            done: false,
            watch,
        };
        cursor.plan_bookmark();
        for object in initial.map(|(objects, _)| objects).unwrap_or_default() {
            if cursor
                .watch
                .selector
                .matches(cursor.watch.index, &object.value)
            {
                let event = cursor.event("ADDED", &object);
                cursor.ready.push_back(event);
            }
        }
        if matches!(cursor.watch.start, Start::Now { mark: true }) {
            let mark = cursor.bookmark(true);
            cursor.ready.push_back(mark);
        }
        cursor
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.take_ready() {
                return Some(line);
            }
            if self.done {
                return None;
            }
            self.changed.borrow_and_update();
            if self.read() {
                continue;
            }
            tokio::select! {
                biased;
                changed = self.changed.changed() => if changed.is_err() { return None },
                _ = self.ends.changed() => return None,
                () = sleep_until(self.deadline) => return None,
                () = sleep_until(self.bookmark_at), if self.watch.bookmarks => {
                    self.plan_bookmark();
                    return Some(self.bookmark(false));
                }
            }
        }
    }

    /// All lines that are ready as one chunk: under load many events share one write.
    fn take_ready(&mut self) -> Option<Bytes> {
        let first = self.ready.pop_front()?;
        if self.ready.is_empty() {
            return Some(first);
        }
        let mut chunk =
            BytesMut::with_capacity(first.len() + self.ready.iter().map(Bytes::len).sum::<usize>());
        chunk.put(first);
        self.ready.drain(..).for_each(|line| chunk.put(line));
        Some(chunk.freeze())
    }

    /// Reads the log. False at its end.
    fn read(&mut self) -> bool {
        let read = self.watch.store.with(|state| {
            let read = state.since(self.watch.index, self.revision, BATCH);
            read.map_err(|_| state.compacted())
        });
        match read {
            Ok((changes, revision)) => {
                self.revision = revision;
                for change in &changes {
                    if change.key.starts_with(&self.watch.prefix) {
                        self.send(change);
                    }
                }
                !changes.is_empty()
            }
            Err(oldest) => {
                let error = Status::expired(format!(
                    "too old resource version: {} ({oldest})",
                    self.revision
                ));
                self.ready
                    .push_back(line("ERROR", error.to_json().to_string().as_bytes()));
                self.done = true;
                true
            }
        }
    }

    fn send(&mut self, change: &Arc<Change>) {
        let Watch {
            index, selector, ..
        } = &self.watch;
        let selected = |object: &Option<Arc<Object>>| {
            object.as_ref().is_some_and(|object| {
                selector.is_empty() || selector.matches(*index, &object.value)
            })
        };
        let event = match (
            selected(&change.before),
            selected(&change.after),
            &change.after,
        ) {
            (false, true, Some(after)) => self.event("ADDED", after),
            (true, true, Some(after)) => self.event("MODIFIED", after),
            (true, false, _) => self.event("DELETED", change.gone(*index)),
            _ => return,
        };
        self.ready.push_back(event);
    }

    fn event(&mut self, kind: &str, object: &Object) -> Bytes {
        match self.watch.form {
            Form::Full => line(kind, &object.json),
            Form::Metadata => line(kind, table::metadata(&object.value).to_string().as_bytes()),
            Form::Table(include) => {
                let (index, revision) = (self.watch.index, object.revision);
                let mut rows = table::table(index, [&object.value], revision, include);
                if std::mem::replace(&mut self.columns_sent, true) {
                    rows["columnDefinitions"] = Value::Null;
                }
                line(kind, rows.to_string().as_bytes())
            }
        }
    }

    fn bookmark(&self, initial: bool) -> Bytes {
        let resource = &RESOURCES[self.watch.index];
        let mut object = match self.watch.form {
            Form::Full => json!({"kind": resource.kind, "apiVersion": resource.api_version()}),
            Form::Metadata => {
                json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"})
            }
            Form::Table(include) => table::table(self.watch.index, [], self.revision, include),
        };
        object["metadata"]["resourceVersion"] = self.revision.to_string().into();
        if initial {
            object["metadata"]["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        line("BOOKMARK", object.to_string().as_bytes())
    }

    /// The next bookmark is due after the usual interval, and one shortly before the end.
    fn plan_bookmark(&mut self) {
        let last = self
            .deadline
            .checked_sub(LAST_BOOKMARK)
            .unwrap_or(self.deadline);
        let now = Instant::now();
        self.bookmark_at = match now + BOOKMARK_EVERY {
            regular if regular < last => regular,
            _ if now < last => last,
            _ => self.deadline + BOOKMARK_EVERY,
        };
    }
}

fn line(kind: &str, object: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(object.len() + kind.len() + 24);
    line.put_slice(b"{\"type\":\"");
    line.put_slice(kind.as_bytes());
    line.put_slice(b"\",\"object\":");
    line.put_slice(object);
    line.put_slice(b"}\n");
    line.freeze()
}
