//! Runs one pod: does what `order` decides, and reports what came of it. One task per pod.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Container, Pod as FullPod};
use kube::Api;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::container::{self, End, Launch, Message, Running};
use super::order::{self, Act, Kind, Member, Plan, Stop, View, is_initialized};
use super::probes::{self, Finding};
use super::report::{self, Finished, Written};
use super::sources::Reader;
use super::{Shared, environment, limits, logs, rootfs, state, volumes};
use crate::kubelet::perform::{self, TIMEOUT};
use crate::kubelet::pod::Pod;
use crate::kubelet::pods::version;
use crate::kubelet::recorder::Note;
use crate::kubelet::report::deadline;

mod ends;

/// Pauses after a failed preparation; the first is short, because a Secret is often created just after its pod.
const PAUSES: (SignedDuration, SignedDuration) = (
    SignedDuration::from_millis(100),
    SignedDuration::from_secs(10),
);
/// Failures that are not shown yet.
const UNSHOWN: u32 = 4;
/// The pause after a write that failed.
const WRITE_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// A worker that has nothing to wait for decides again then.
const IDLE: SignedDuration = SignedDuration::from_hours(1);

/// What the kubelet knows of a pod.
#[derive(Clone, Debug)]
pub(crate) struct Update {
    pub(crate) pod: Arc<Pod>,
    /// The address of its node.
    pub(crate) host_ip: String,
    /// Its node is lost: nothing may be reported.
    pub(crate) lost: bool,
    /// The API server does not have it any more.
    pub(crate) gone: bool,
}

/// Runs the pod until it is gone.
pub(crate) async fn run(shared: Arc<Shared>, mut updates: watch::Receiver<Update>) {
    let pod = updates.borrow_and_update().pod.clone();
    let _listed = shared.table.insert(pod.uid());
    if !pod.is_terminal()
        && let Some(full) = read(&shared, &mut updates, &pod).await
    {
        Box::pin(Worker::new(shared.clone(), updates.clone(), full).work()).await;
    }
    if updates.wait_for(|update| update.gone).await.is_ok() {
        shared.remove_pods(vec![pod.uid().to_owned()]);
    }
}

/// The whole pod; none once it is gone.
async fn read(
    shared: &Shared,
    updates: &mut watch::Receiver<Update>,
    pod: &Pod,
) -> Option<FullPod> {
    let api: Api<FullPod> = Api::namespaced(shared.client.clone(), pod.namespace());
    loop {
        if let Ok(Ok(full)) = tokio::time::timeout(TIMEOUT, api.get(pod.name())).await
            && full.metadata.uid.as_deref() == Some(pod.uid())
        {
            return Some(full);
        }
        tokio::select! {
            gone = updates.wait_for(|update| update.gone) => return gone.ok().and(None),
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

struct Worker {
    shared: Arc<Shared>,
    updates: watch::Receiver<Update>,
    /// The latest state that the API server has.
    pod: Arc<Pod>,
    full: FullPod,
    reader: Reader,
    members: Vec<Member>,
    specs: Vec<Arc<Container>>,
    volumes: Option<BTreeMap<String, PathBuf>>,
    running: HashMap<usize, (Arc<Running>, AbortHandle)>,
    stops: BTreeMap<String, Stop>,
    ending: Option<Timestamp>,
    /// The grace period of the deletion.
    grace: Option<i64>,
    /// The pod was active for too long.
    expired: bool,
    finished: Option<Finished>,
    failures: u32,
    not_before: Timestamp,
    ends: JoinSet<(usize, i32, End)>,
    /// Probes and hooks.
    helpers: JoinSet<()>,
    findings: (mpsc::Sender<Found>, mpsc::Receiver<Found>),
    written: Written,
    writing: JoinSet<(Result<Pod, perform::Error>, Written)>,
    write_at: Timestamp,
}

/// What the probes of a run found.
type Found = (usize, i32, Finding);

impl Worker {
    fn new(shared: Arc<Shared>, updates: watch::Receiver<Update>, full: FullPod) -> Worker {
        let pod = updates.borrow().pod.clone();
        let spec = full.spec.clone().unwrap_or_default();
        let specs = state::containers(&spec);
        Worker {
            reader: Reader::new(shared.client.clone(), pod.namespace()),
            members: state::of(&pod, &spec, Timestamp::now()),
            specs: specs.map(|(_, one)| Arc::new(one.clone())).collect(),
            shared,
            updates,
            pod,
            full,
            volumes: None,
            running: HashMap::new(),
            stops: BTreeMap::new(),
            ending: None,
            grace: None,
            expired: false,
            finished: None,
            failures: 0,
            not_before: Timestamp::MIN,
            ends: JoinSet::new(),
            helpers: JoinSet::new(),
            findings: mpsc::channel(16),
            written: Written::default(),
            writing: JoinSet::new(),
            write_at: Timestamp::MIN,
        }
    }

    async fn work(mut self) {
        self.admit();
        loop {
            self.take();
            let plan = self.plan();
            for act in &plan.acts {
                self.act(*act).await;
            }
            if !plan.acts.is_empty() {
                continue;
            }
            let dirty = self.write();
            let update = self.updates.borrow().clone();
            if self.finished.is_some() && (update.gone || !dirty) {
                return;
            }
            let now = Timestamp::now();
            let wake = [plan.wake, dirty.then_some(self.write_at), self.deadline()];
            let wake = wake.into_iter().flatten().filter(|at| *at > now).min();
            let wait = wake.unwrap_or(now + IDLE).duration_since(now);
            let wait = Duration::try_from(wait).unwrap_or_default() + Duration::from_millis(1);
            tokio::select! {
                changed = self.updates.changed() => if changed.is_err() { return },
                Some(Ok((index, run, end))) = self.ends.join_next() => self.ended(index, run, end),
                Some(found) = self.findings.1.recv() => self.found(found),
                Some(Ok(write)) = self.writing.join_next() => self.wrote(write),
                Some(_) = self.helpers.join_next() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Refuses the pod if no process can be what it asks for; says what it does not get.
    fn admit(&mut self) {
        if let Some(why) = limits::refused(&self.full) {
            self.note(Note::warning("UnsupportedByProcessRuntime", why.as_str()));
            let reason = Some(("UnsupportedByProcessRuntime", why));
            self.finished = Some(Finished {
                succeeded: false,
                reason,
                refused: true,
            });
        } else if self.pod.status.start_time.is_none() {
            let mut message = "Containers run as processes of this machine, without images, isolation, users and limits".to_owned();
            let omitted = limits::omitted(&self.full);
            if !omitted.is_empty() {
                message += &format!("; left out: {}", omitted.join(", "));
            }
            self.note(Note::normal("ProcessRuntime", message));
        }
    }

    fn plan(&self) -> Plan {
        if self.finished.is_some() {
            return Plan::default();
        }
        order::next(&View {
            members: &self.members,
            policy: self.pod.restart_policy(),
            mounted: self.volumes.is_some(),
            ending: self.ending,
            stops: &self.stops,
            not_before: self.not_before,
            back_off: self.shared.pace.back_off,
            now: Timestamp::now(),
        })
    }

    async fn act(&mut self, act: Act) {
        let now = Timestamp::now();
        match act {
            Act::Mount => {
                let mounted = volumes::mount(&self.shared.directories, &self.reader, &self.full);
                match mounted.await {
                    Ok(volumes) => {
                        self.volumes = Some(volumes);
                        let (shared, reader) = (self.shared.clone(), self.reader.clone());
                        self.helpers
                            .spawn(volumes::follow(shared, reader, self.full.clone()));
                        self.prepared();
                    }
                    Err(why) => {
                        if self.postpone() {
                            self.note(Note::warning("FailedMount", why));
                        }
                    }
                }
            }
            Act::Start(index) => self.start(index).await,
            Act::BackOff(index) => {
                let note = self.members[index].back_off(&self.pod);
                self.note(note);
            }
            Act::End => self.end_within(self.own_grace()),
            Act::Terminate(index) => self.terminate(index, now),
            Act::Kill(index) => {
                self.stop(index, Stop::Killed);
                if let Some((running, _)) = self.running.get(&index) {
                    running.kill();
                }
            }
            Act::Finish { succeeded } => {
                if self.grace.is_some() || (self.expired && is_initialized(&self.members)) {
                    let mains = self.members.iter_mut();
                    mains
                        .filter(|member| member.kind == Kind::Main)
                        .for_each(|member| member.lose(now));
                }
                let late = || (deadline::REASON, deadline::MESSAGE.to_owned());
                self.finished = Some(Finished {
                    succeeded: succeeded && !self.expired,
                    reason: self.expired.then(late),
                    refused: false,
                });
            }
        }
    }

    async fn start(&mut self, index: usize) {
        let spec = self.specs[index].clone();
        let launch = match self.prepare(index, &spec).await {
            Ok(launch) => launch,
            Err(why) => {
                if self.postpone() {
                    self.note(Note::warning("Failed", format!("Error: {why}")));
                    self.members[index].hold(why);
                }
                return;
            }
        };
        self.prepared();
        let (now, run) = (Timestamp::now(), launch.run);
        let program = launch.line.as_ref().and_then(|line| line.first().cloned());
        let name = spec.name.as_str();
        match container::start(launch, &self.shared.groups) {
            Ok((running, end)) => {
                self.stops.remove(name);
                self.members[index].start(&self.pod, &spec, now);
                self.ends.spawn(async move { (index, run, end.await) });
                self.shared.table.started(self.pod.uid(), name, &running);
                let probes = self.probe(index, &spec, &running);
                self.running.insert(index, (running, probes));
                self.note(Note::normal("Started", format!("Started container {name}")));
            }
            Err(error) => {
                let program = program.unwrap_or_default();
                let why = format!("failed to start {program:?}: {error}");
                self.note(Note::warning("Failed", format!("Error: {why}")));
                self.members[index].fail(&self.pod, &spec, why, now);
            }
        }
    }

    /// Everything that a start needs.
    async fn prepare(&self, index: usize, spec: &Container) -> Result<Launch, String> {
        let sources = self.reader.of(spec).await?;
        let variables = environment::variables(spec, &self.full, &sources)?;
        let home = self
            .shared
            .directories
            .container(self.pod.uid(), &spec.name);
        let none = BTreeMap::new();
        let volumes = self.volumes.as_ref().unwrap_or(&none);
        let rootfs = rootfs::build(&home, spec, volumes, &self.shared.programs, &variables)?;
        let member = &self.members[index];
        let init = || Duration::try_from(self.shared.pace.init).unwrap_or_default();
        let policy = spec.termination_message_policy.as_deref();
        Ok(Launch {
            run: member.next_run(),
            line: environment::command_line(spec, &variables),
            environment: container::Environment::new(&home, &rootfs, &variables),
            waits: (member.kind == Kind::Init).then(init),
            message: Message {
                file: rootfs.termination_log,
                from_log: policy == Some("FallbackToLogsOnError"),
            },
            home,
        })
    }

    fn probe(
        &mut self,
        index: usize,
        spec: &Arc<Container>,
        running: &Arc<Running>,
    ) -> AbortHandle {
        let (spec, running) = (spec.clone(), running.clone());
        let (groups, findings) = (self.shared.groups.clone(), self.findings.0.clone());
        self.helpers
            .spawn(probes::run(spec, running, groups, index, findings))
    }

    fn stop(&mut self, index: usize, stop: Stop) {
        let name = self.members[index].status.name.clone();
        self.stops.insert(name, stop);
    }

    fn ended(&mut self, index: usize, run: i32, end: End) {
        if let Some((_, probes)) = self.running.remove(&index) {
            probes.abort();
        }
        let name = self.members[index].status.name.clone();
        self.shared.table.ended(self.pod.uid(), &name, run);
        self.members[index].end(end.code, end.message, Timestamp::now());
    }

    fn found(&mut self, (index, run, finding): Found) {
        let current = self.running.get(&index);
        let Some((running, _)) = current.filter(|(running, _)| running.run == run) else {
            return;
        };
        let status = &mut self.members[index].status;
        let unhealthy = |why: String| Note::warning("Unhealthy", why);
        match finding {
            Finding::Started => {
                status.started = Some(true);
                status.ready = self.specs[index].readiness_probe.is_none();
            }
            Finding::StartupFailed(why) => {
                running.kill();
                self.note(unhealthy(format!("Startup probe failed: {why}")));
            }
            Finding::Ready => status.ready = true,
            Finding::Unready(why) => {
                status.ready = false;
                self.note(unhealthy(format!("Readiness probe failed: {why}")));
            }
            Finding::Dead(why) => {
                let grace = probes::grace(&self.specs[index], &self.full);
                self.helpers.spawn(running.clone().end_within(grace));
                let name = &status.name;
                let text = format!("Container {name} failed liveness probe, will be restarted");
                self.note(unhealthy(format!("Liveness probe failed: {why}")));
                self.note(Note::normal("Killing", text));
            }
        }
    }

    fn prepared(&mut self) {
        self.failures = 0;
        self.not_before = Timestamp::MIN;
    }

    /// Tries again later; returns whether the failure is shown.
    fn postpone(&mut self) -> bool {
        let factor = 2_i32.saturating_pow(self.failures.min(10));
        let pause = (PAUSES.0 * factor).min(PAUSES.1);
        self.not_before = Timestamp::now() + pause;
        self.failures = self.failures.saturating_add(1);
        self.failures > UNSHOWN
    }

    /// Starts a write of what the API server does not have, one at a time; returns whether there is any.
    fn write(&mut self) -> bool {
        let (update, now) = (self.updates.borrow().clone(), Timestamp::now());
        if !self.writing.is_empty() {
            return true;
        }
        let finished = self.finished.as_ref();
        let (pod, written) = (&self.pod, &self.written);
        let (status, written) =
            report::patch(pod, &self.members, finished, written, &update.host_ip, now);
        if status.is_empty() {
            return false;
        }
        if update.lost || update.gone || now < self.write_at {
            return true;
        }
        let (client, pod) = (self.shared.client.clone(), pod.clone());
        self.writing.spawn(async move {
            let write = perform::patch_status(&client, &pod, Value::Object(status));
            let result = match tokio::time::timeout(TIMEOUT, write).await {
                Ok(result) => result.map_err(perform::Error::Api),
                Err(_) => Err(perform::Error::Timeout),
            };
            (result, written)
        });
        true
    }

    fn wrote(&mut self, (result, written): (Result<Pod, perform::Error>, Written)) {
        match result {
            Ok(pod) => {
                self.written = written;
                if version(&pod) > version(&self.pod) {
                    self.pod = Arc::new(pod);
                }
            }
            Err(error) => {
                tracing::debug!(%error, pod = self.pod.name(), "the status of a pod is not written");
                self.write_at = Timestamp::now() + WRITE_PAUSE;
            }
        }
    }

    fn note(&self, note: Note) {
        let node = self.pod.spec.node_name.as_deref();
        self.shared.recorder.note(&self.pod, "kubelet", node, note);
    }
}

/// Where the log of a run of a container is.
pub(crate) fn log(shared: &Shared, uid: &str, container: &str, run: i32) -> PathBuf {
    logs::path(&shared.directories.container(uid, container), run)
}
