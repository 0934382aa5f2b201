//! Workspaces that are started and stopped, through any daemon, during all faults.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tonic::{Code, Request, Status};
use wsman::proto::wsman::*;

use super::daemon::Client;
use super::support::world::request;

/// Timeout of a start or a stop.
const DEADLINE: Duration = Duration::from_secs(10);

/// Concurrent calls: the faults should stress the API server, not the load.
const CALLERS: usize = 24;

/// What all workspaces do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Start, and stay.
    Fill,
    /// Start and stop, again and again.
    Churn,
    /// Stop.
    Empty,
}

/// The workspaces of a run.
pub(crate) struct Load {
    mode: watch::Sender<Mode>,
    count: usize,
    starts: Arc<AtomicU64>,
    calls: Arc<AtomicU64>,
    clients: Vec<Client>,
    /// The state of each.
    doing: Arc<Mutex<Vec<String>>>,
    _slots: JoinSet<()>,
}

impl Load {
    /// Starts so many workspaces through any of the clients.
    pub(crate) fn start(count: usize, clients: Vec<Client>, rng: &mut fastrand::Rng) -> Self {
        let mode = watch::Sender::new(Mode::Fill);
        let starts = Arc::new(AtomicU64::new(0));
        let calls = Arc::new(AtomicU64::new(0));
        let doing = Arc::new(Mutex::new(vec![String::new(); count]));
        let callers = Arc::new(Semaphore::new(CALLERS));
        let mut slots = JoinSet::new();
        for number in 0..count {
            let slot = Slot {
                number,
                generation: 0,
                clients: clients.clone(),
                rng: rng.fork(),
                mode: mode.subscribe(),
                starts: Arc::clone(&starts),
                calls: Arc::clone(&calls),
                doing: Arc::clone(&doing),
                callers: Arc::clone(&callers),
            };
            slots.spawn(slot.run());
        }
        Self {
            mode,
            count,
            starts,
            calls,
            clients,
            doing,
            _slots: slots,
        }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// The number of accepted starts.
    pub(crate) fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    /// The number of calls.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// The workspaces in a wrong state, with their state and their entry in the lists.
    fn stragglers(
        &self,
        mode: Mode,
        listed: Option<HashMap<String, WorkspaceStatus>>,
    ) -> Vec<String> {
        let Some(listed) = listed else {
            return vec!["no daemon answers".to_owned()];
        };
        let doing = self.doing.lock().unwrap();
        let mut stragglers = Vec::new();
        for doing in doing.iter() {
            let status = listed.get(doing.split(' ').next().unwrap_or_default());
            let wanted = match status {
                None => mode == Mode::Empty,
                Some(status) => mode == Mode::Fill && status.phase() == WorkspacePhase::Running,
            };
            if !wanted {
                let listed = status.map(|status| {
                    let failed = status.conditions.as_ref().map(|c| c.failed.clone());
                    let phase = status.phase().as_str_name();
                    (phase, status.message.clone(), failed)
                });
                stragglers.push(format!("{doing}, is listed as {listed:?}"));
            }
        }
        stragglers
    }

    /// Waits until every daemon lists every workspace as running, or none at all.
    pub(crate) async fn reach(&self, mode: Mode, timeout: Duration) -> Result<(), String> {
        self.set(mode);
        let begun = Instant::now();
        loop {
            let mut phases = Vec::new();
            for client in &self.clients {
                phases.push(phases_of(client.clone()).await);
            }
            let reached = phases.iter().all(|phases| {
                phases.as_ref().is_some_and(|phases| match mode {
                    Mode::Empty => phases.is_empty(),
                    _ => {
                        let running =
                            |status: &&WorkspaceStatus| status.phase() == WorkspacePhase::Running;
                        phases.len() == self.count
                            && phases.values().filter(running).count() == self.count
                    }
                })
            });
            if reached {
                return Ok(());
            }
            if begun.elapsed() > timeout {
                let stragglers = self.stragglers(mode, phases.into_iter().flatten().next());
                return Err(format!("{mode:?} is not reached: {stragglers:#?}"));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

async fn phases_of(mut client: Client) -> Option<HashMap<String, WorkspaceStatus>> {
    let listed = client.get_workspaces(GetWorkspacesRequest::default()).await;
    let listed = listed.ok()?.into_inner().status;
    Some(
        listed
            .into_iter()
            .map(|status| (status.id.clone(), status))
            .collect(),
    )
}

/// One workspace at a time: even ones are restarted under the same id, odd ones under a new one.
struct Slot {
    number: usize,
    generation: usize,
    clients: Vec<Client>,
    rng: fastrand::Rng,
    mode: watch::Receiver<Mode>,
    starts: Arc<AtomicU64>,
    calls: Arc<AtomicU64>,
    doing: Arc<Mutex<Vec<String>>>,
    callers: Arc<Semaphore>,
}

impl Slot {
    fn log(&self, what: String) {
        self.doing.lock().unwrap()[self.number] = format!("{what} at {}", Timestamp::now());
    }

    async fn run(mut self) {
        loop {
            let mode = *self.mode.borrow_and_update();
            if mode == Mode::Empty {
                self.wait(None).await;
                continue;
            }
            self.generation += 1;
            let id = match self.number % 2 {
                0 => format!("c{}", self.number),
                _ => format!("c{}-{}", self.number, self.generation),
            };
            self.begin(&id).await;
            let stay = Duration::from_millis(self.rng.u64(5_000..45_000));
            // It ends after its timeout; in the mode in which all stay, when that is over.
            while *self.mode.borrow_and_update() == Mode::Fill {
                self.wait(None).await;
            }
            self.wait(Some(stay)).await;
            if *self.mode.borrow() == Mode::Fill {
                while *self.mode.borrow_and_update() == Mode::Fill {
                    self.wait(None).await;
                }
            }
            self.stop(&id).await;
        }
    }

    /// Waits until the mode changes, with a timeout.
    async fn wait(&mut self, time: Option<Duration>) {
        let changed = self.mode.changed();
        match time {
            // The sender is dropped only at the end of the run.
            Some(time) => drop(tokio::time::timeout(time, changed).await),
            None => drop(changed.await),
        }
    }

    /// Starts a workspace, with retries.
    async fn begin(&mut self, id: &str) {
        let mut start = request(id);
        let metadata = start.metadata.as_mut().unwrap();
        let team = if self.number % 4 < 2 { "blue" } else { "red" };
        metadata.annotations.insert("team".into(), team.into());
        // Another start under the same id is another request.
        let generation = self.generation.to_string();
        metadata.annotations.insert("generation".into(), generation);
        let begun = Instant::now();
        loop {
            let mut client = self.client();
            let call = client.start_workspace(within(start.clone()));
            match bounded(&self.callers, call).await {
                Ok(_) => {
                    self.starts.fetch_add(1, Ordering::Relaxed);
                    self.log(format!("{id} was started {:?}", begun.elapsed()));
                    return;
                }
                Err(status) => {
                    assert!(
                        // The last one is stopping, or the name of a Service of it is in use.
                        passes(status.code())
                            || matches!(
                                status.code(),
                                Code::AlreadyExists | Code::FailedPrecondition
                            ),
                        "{id}: {status}"
                    );
                    self.log(format!("{id} cannot be started: {status}"));
                }
            }
            self.pause().await;
        }
    }

    /// Stops a workspace, with retries.
    async fn stop(&mut self, id: &str) {
        while !self.stop_once(id).await {
            self.pause().await;
        }
    }

    async fn stop_once(&mut self, id: &str) -> bool {
        let stop = StopWorkspaceRequest {
            id: id.to_owned(),
            ..Default::default()
        };
        let mut client = self.client();
        let call = client.stop_workspace(within(stop));
        match bounded(&self.callers, call).await {
            Ok(_) => {
                self.log(format!("{id} was stopped"));
                true
            }
            Err(status) if status.code() == Code::NotFound => {
                self.log(format!("{id} was gone"));
                true
            }
            Err(status) => {
                self.log(format!("{id} cannot be stopped: {status}"));
                let code = status.code();
                assert!(passes(code), "{id}: {status}");
                false
            }
        }
    }

    async fn pause(&mut self) {
        let pause = self.rng.u64(200..1_500);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    fn client(&mut self) -> Client {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.clients[self.rng.usize(..self.clients.len())].clone()
    }
}

/// Sets a deadline that ends before a fault does.
fn within<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// Makes a call when a permit is free, and cancels one long after its deadline; it reached no server.
async fn bounded<T>(
    callers: &Semaphore,
    call: impl Future<Output = Result<T, Status>>,
) -> Result<T, Status> {
    let _turn = callers.acquire().await;
    let late = |_| Err(Status::deadline_exceeded("no answer"));
    let answer = tokio::time::timeout(2 * DEADLINE, call).await;
    answer.unwrap_or_else(late)
}

/// The codes of a daemon that is killed, or whose API server is.
fn passes(code: Code) -> bool {
    matches!(
        code,
        Code::Unavailable
            | Code::Unknown
            | Code::Cancelled
            | Code::DeadlineExceeded
            | Code::ResourceExhausted
            | Code::Internal
            | Code::Aborted
    )
}
