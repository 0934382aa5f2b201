//! Knows the pods and does their next steps: the one stateful task of scheduler and kubelets.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::time::{DelayQueue, delay_queue};

use super::Options;
use super::informer::{Change, watch};
use super::node::Member;
use super::perform::{self, Job};
use super::pod::Pod;
use super::process::Workers;
use super::recorder::{Note, Recorder};
use super::report::{self, Place};
use crate::scheduler::{self, Added, Nodes, Usage};
use crate::script::{self, Act, Fault, Host, PREFIX, Script, Seen};

/// Writes to pods at the same time.
const WRITES: usize = 32;
/// A timer further away than this is checked again then: the queue has a horizon.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

type Key = ObjectRef<Pod>;

/// Scheduler and kubelets.
pub(crate) struct Kubelet {
    client: Client,
    options: Options,
    recorder: Recorder,
    nodes: Arc<Nodes>,
    pods: HashMap<Key, Entry>,
    /// The pods that count on each node.
    usage: Usage,
    /// Pods that no node fitted.
    parked: HashSet<Key>,
    /// Nodes or pods have changed, so that a parked pod may fit.
    retry: bool,
    /// The scheduler's round robin.
    turn: usize,
    timers: DelayQueue<Key>,
    writes: JoinSet<Done>,
    permits: Arc<Semaphore>,
    /// Run the containers, if they are processes.
    workers: Option<Workers>,
}

struct Entry {
    pod: Arc<Pod>,
    script: Script,
    seen: Seen,
    timer: Option<delay_queue::Key>,
    /// A write is in flight.
    busy: bool,
    /// The node of a binding that is in flight, or answered and not seen yet.
    assumed: Option<String>,
    /// The node on which this pod is counted.
    counted: Option<String>,
    failures: u32,
    not_before: Timestamp,
    last: Option<Act>,
}

/// A completed write.
struct Done {
    key: Key,
    uid: String,
    act: Act,
    result: Result<Option<Pod>, perform::Error>,
}

impl Kubelet {
    pub(crate) fn new(
        client: Client,
        options: Options,
        recorder: Recorder,
        workers: Option<Workers>,
    ) -> Kubelet {
        Kubelet {
            client,
            options,
            recorder,
            nodes: Arc::default(),
            pods: HashMap::new(),
            usage: Usage::default(),
            parked: HashSet::new(),
            retry: false,
            turn: 0,
            timers: DelayQueue::new(),
            writes: JoinSet::new(),
            permits: Arc::new(Semaphore::new(WRITES)),
            workers,
        }
    }

    /// Runs until `shutdown`; the next run can read all state from the pods.
    pub(crate) async fn run(
        mut self,
        mut nodes: watch::Receiver<Arc<Nodes>>,
        shutdown: &CancellationToken,
    ) {
        let api = match &self.options.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        // Without its own nodes, it would call every pod unschedulable.
        let there = |nodes: &Arc<Nodes>| {
            let up = nodes.values().filter(|n| n.ours && (n.ready || n.lost));
            up.count() >= self.options.node_count()
        };
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = nodes.wait_for(there) => {}
        }
        self.nodes = nodes.borrow_and_update().clone();
        let changes = watch(api);
        tokio::pin!(changes);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                Some(change) = changes.next() => match change {
                    Change::Apply(pod) => self.apply(pod),
                    Change::Delete(key) => self.delete(&key),
                    Change::Synced => self.synced(),
                },
                Ok(()) = nodes.changed() => {
                    self.nodes = nodes.borrow_and_update().clone();
                    let all: Vec<_> = self.pods.keys().cloned().collect();
                    for key in all {
                        self.consider(&key);
                    }
                }
                Some(expired) = self.timers.next(), if !self.timers.is_empty() => {
                    let key = expired.into_inner();
                    if let Some(entry) = self.pods.get_mut(&key) {
                        entry.timer = None;
                    }
                    self.consider(&key);
                }
                Some(done) = self.writes.join_next(), if !self.writes.is_empty() => match done {
                    Ok(done) => self.finish(done),
                    Err(error) => tracing::error!(%error, "a write panicked"),
                },
            }
            while std::mem::take(&mut self.retry) {
                self.unpark();
            }
        }
    }

    /// Takes a newer state of a pod, from the watch or from the response to a write.
    fn apply(&mut self, mut pod: Pod) {
        trim(&mut pod);
        let key = Key::from_obj(&pod);
        let now = Timestamp::now();
        let known = self.pods.get(&key).filter(|e| e.pod.uid() == pod.uid());
        if known.is_some_and(|entry| version(&entry.pod) > version(&pod)) {
            return;
        }
        if known.is_none() {
            self.delete(&key);
        }
        let (script, faults) = Script::read(
            pod.metadata
                .annotations
                .as_ref()
                .unwrap_or(&BTreeMap::new()),
        );
        let pod = Arc::new(pod);
        let entry = self.pods.entry(key.clone()).or_insert_with(|| {
            for fault in faults {
                self.recorder.note(&pod, "kubelet", None, invalid(&fault));
            }
            Entry::new(pod.clone())
        });
        let dies = pod.metadata.deletion_timestamp.is_some()
            && entry.pod.metadata.deletion_timestamp.is_none();
        let node = pod.spec.node_name.as_deref();
        if dies
            && node
                .and_then(|n| self.nodes.get(n))
                .is_some_and(|n| n.ours && !n.lost)
        {
            for note in report::killing(&pod) {
                self.recorder.note(&pod, "kubelet", node, note);
            }
        }
        entry.script = script;
        entry.seen.observe(&pod, now);
        entry.pod = pod;
        self.count(&key);
        self.consider(&key);
    }

    fn delete(&mut self, key: &Key) {
        let Some(entry) = self.pods.remove(key) else {
            return;
        };
        if let Some(timer) = entry.timer {
            self.timers.try_remove(&timer);
        }
        if let Some(workers) = &mut self.workers {
            workers.remove(entry.pod.uid());
        }
        if let Some(node) = entry.counted {
            self.usage.remove(&node, entry.pod.uid());
            self.retry = true;
        }
    }

    fn synced(&mut self) {
        if let Some(workers) = &self.workers {
            let uids: HashSet<_> = self.pods.values().map(|entry| entry.pod.uid()).collect();
            workers.synced(|uid| uids.contains(uid));
        }
    }

    /// Counts the pod on its node, until it has ended.
    fn count(&mut self, key: &Key) {
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        let node = entry.pod.spec.node_name.as_ref().or(entry.assumed.as_ref());
        let node = node.filter(|_| !entry.pod.is_terminal()).cloned();
        let added = node.as_ref().map(|node| self.usage.add(node, &entry.pod));
        if entry.counted != node
            && let Some(before) = std::mem::replace(&mut entry.counted, node)
        {
            self.usage.remove(&before, entry.pod.uid());
            self.retry = true;
        }
        self.retry |= match added {
            Some(Added::Relabelled) => true,
            Some(Added::New) => {
                let parked = self.parked.iter().filter_map(|key| self.pods.get(key));
                parked
                    .into_iter()
                    .any(|entry| scheduler::is_attracted(&entry.pod))
            }
            Some(Added::Same) | None => false,
        };
    }

    /// Considers the parked pods again, the oldest first.
    fn unpark(&mut self) {
        let mut keys: Vec<_> = std::mem::take(&mut self.parked).into_iter().collect();
        keys.sort_by_cached_key(|key| {
            let pod = self.pods.get(key).map(|entry| &entry.pod.metadata);
            let created = pod.and_then(|pod| pod.creation_timestamp.as_ref());
            (created.map(|at| at.0), key.name.clone())
        });
        for key in keys {
            self.consider(&key);
        }
    }

    /// Does the next step of a pod, or sets its timer.
    fn consider(&mut self, key: &Key) {
        let now = Timestamp::now();
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        let bound = entry.pod.spec.node_name.is_some();
        // The response to a binding does not have the pod: the watch will.
        if entry.busy || (!bound && (entry.assumed.is_some() || !self.options.schedule)) {
            return;
        }
        let host = host(&entry.pod, &self.nodes);
        if let (Some(workers), true) = (&mut self.workers, bound && host != Host::Foreign) {
            let lost = host == Host::Lost;
            let member = entry.pod.spec.node_name.as_ref();
            let member = member.and_then(|name| self.nodes.get(name));
            workers.update(&entry.pod, member.map_or("", |m| &m.ip), lost);
            if !lost && !entry.pod.is_terminal() {
                return set_timer(&mut self.timers, entry, key, None);
            }
        }
        let pace = &self.options.pace;
        let next = script::next(&entry.pod, &entry.script, &entry.seen, host, pace, now);
        let Some(step) = next else {
            return set_timer(&mut self.timers, entry, key, None);
        };
        if step.act == Act::Confirm && entry.last == Some(Act::Confirm) {
            // It was deleted; the watch has not shown that yet.
            return set_timer(&mut self.timers, entry, key, None);
        }
        let at = step.at.max(entry.not_before);
        if at > now {
            return set_timer(&mut self.timers, entry, key, Some(at.duration_since(now)));
        }
        set_timer(&mut self.timers, entry, key, None);
        self.dispatch(key, step.act);
    }

    fn dispatch(&mut self, key: &Key, act: Act) {
        let Some(entry) = self.pods.get_mut(key) else {
            return;
        };
        let (act, node) = match act {
            Act::Schedule => {
                match scheduler::place(&entry.pod, &self.nodes, &self.usage, &mut self.turn) {
                    Ok(node) => (Act::Schedule, Some(node)),
                    Err(message) => (Act::Unschedulable(message), None),
                }
            }
            Act::Unschedulable(reason) => {
                let message = scheduler::refused_by_all(&self.nodes, &reason);
                (Act::Unschedulable(message), None)
            }
            act => (act, entry.pod.spec.node_name.clone()),
        };
        if let Act::Unschedulable(message) = &act {
            self.parked.insert(key.clone());
            if is_unschedulable(&entry.pod, message) {
                return;
            }
        }
        let member = node.as_ref().and_then(|node| self.nodes.get(node));
        let job = Job {
            pod: entry.pod.clone(),
            act: act.clone(),
            script: entry.script.clone(),
            pace: self.options.pace,
            place: Place {
                ip: member.map(|m| m.ip.clone()).unwrap_or_default(),
            },
            lost_by: member.map(|m| m.lost_by.clone()).unwrap_or_default(),
            node: node.clone().unwrap_or_default(),
        };
        entry.busy = true;
        if act == Act::Schedule {
            entry.assumed = node;
        }
        let (client, recorder, permits) = (
            self.client.clone(),
            self.recorder.clone(),
            self.permits.clone(),
        );
        let (key, uid) = (key.clone(), entry.pod.uid().to_owned());
        self.count(&key);
        self.writes.spawn(async move {
            let _permit = permits.acquire().await;
            let result = perform::perform(&client, &recorder, job).await;
            Done {
                key,
                uid,
                act,
                result,
            }
        });
    }

    fn finish(&mut self, done: Done) {
        let known = self.pods.get_mut(&done.key);
        let Some(entry) = known.filter(|entry| entry.pod.uid() == done.uid) else {
            return;
        };
        entry.busy = false;
        let failed = done.result.is_err();
        // The same act twice means that the API server did not keep the write: retry slowly.
        let again = entry.last.as_ref() == Some(&done.act);
        if failed || again {
            entry.failures = entry.failures.saturating_add(1);
            let pause = 50_i64 << entry.failures.min(8);
            entry.not_before = Timestamp::now() + SignedDuration::from_millis(pause);
        } else {
            entry.failures = 0;
            entry.not_before = Timestamp::MIN;
        }
        if failed && done.act == Act::Schedule {
            entry.assumed = None;
        }
        entry.last = (!failed).then_some(done.act);
        match done.result {
            Ok(Some(pod)) => {
                self.apply(pod);
                // The watch may have shown a newer state while the write was in flight: then the response changes
                // nothing.
                self.consider(&done.key);
            }
            Ok(None) => self.consider(&done.key),
            Err(error) => {
                tracing::debug!(error = %chain(&error), pod = %done.key, "a write failed");
                self.count(&done.key);
                self.consider(&done.key);
            }
        }
    }
}

impl Entry {
    fn new(pod: Arc<Pod>) -> Entry {
        Entry {
            pod,
            script: Script::default(),
            seen: Seen::default(),
            timer: None,
            busy: false,
            assumed: None,
            counted: None,
            failures: 0,
            not_before: Timestamp::MIN,
            last: None,
        }
    }
}

fn set_timer(
    timers: &mut DelayQueue<Key>,
    entry: &mut Entry,
    key: &Key,
    wait: Option<SignedDuration>,
) {
    let wait = wait.map(|wait| {
        // Timers have whole milliseconds; an early wake-up would only wait again.
        let wait = Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(1);
        wait.min(LONGEST_WAIT)
    });
    match (wait, &entry.timer) {
        (Some(wait), Some(timer)) => timers.reset(timer, wait),
        (Some(wait), None) => entry.timer = Some(timers.insert(key.clone(), wait)),
        (None, _) => {
            if let Some(timer) = entry.timer.take() {
                timers.try_remove(&timer);
            }
        }
    }
}

fn host(pod: &Pod, nodes: &Nodes) -> Host {
    let member = pod.spec.node_name.as_ref().and_then(|name| nodes.get(name));
    match member {
        Some(Member {
            ours: true,
            lost: true,
            ..
        }) => Host::Lost,
        Some(Member {
            ours: true,
            lost_by,
            ..
        }) => Host::Ours {
            spared: lost_by.split(',').any(|uid| uid == pod.uid()),
        },
        _ => Host::Foreign,
    }
}

fn is_unschedulable(pod: &Pod, message: &str) -> bool {
    let conditions = pod.status.conditions.as_deref().unwrap_or_default();
    conditions.iter().any(|c| {
        c.type_ == "PodScheduled"
            && c.reason.as_deref() == Some("Unschedulable")
            && c.message.as_deref() == Some(message)
    })
}

fn invalid(fault: &Fault) -> Note {
    let Fault { key, value, why } = fault;
    Note::warning(
        "InvalidSimulation",
        format!("{key}: {value:?} is ignored: {why}"),
    )
}

/// Drops what is large and never used.
fn trim(pod: &mut Pod) {
    pod.metadata.managed_fields = None;
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.retain(|key, _| key.starts_with(PREFIX));
    }
}

pub(crate) fn version(pod: &Pod) -> u64 {
    let version = pod.metadata.resource_version.as_deref();
    version.and_then(|v| v.parse().ok()).unwrap_or(0)
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
