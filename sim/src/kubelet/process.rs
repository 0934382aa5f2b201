//! Containers as processes of this machine, each in a directory of its own: real programs in place of simulated ones.
//!
//! A process is no container. It has the programs, the network and the user of its kubelet: images are not pulled,
//! nothing is isolated, `securityContext` and limits do nothing, mounts are never read-only. All pods share 127.0.0.1, so
//! peers differ in their ports alone, and there are no names for `hostname` and `subdomain`. Annotations of the
//! simulation do nothing either, but for those of the scheduler. `limits` has what is refused, `paths` how a path of a
//! container becomes one of the machine. Contents of files are not rewritten: programs read `WSMAN_ROOTFS`, the
//! directory that stands for `/`, and `TERMINATION_LOG`.
//!
//! `worker` runs a pod, `order` decides its next step, `server` has logs and exec for the API server. All state is in
//! the pods and in the `directories`; processes never outlive the kubelet (`group`, `leftovers`).

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::pod::Pod;
use super::recorder::Recorder;
use super::{Error, Pace};
use directories::Directories;
use group::Groups;
use server::Socket;
use table::Table;
use worker::Update;

mod claims;
mod container;
mod directories;
mod environment;
mod exec;
mod fields;
mod group;
mod leftovers;
mod limits;
mod logs;
mod order;
mod paths;
mod probes;
mod report;
mod rootfs;
mod server;
mod sources;
mod state;
mod table;
mod volumes;
mod worker;

/// Containers as processes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ProcessRuntime {
    /// Where containers and volumes are; it is created, and belongs to one kubelet at a time.
    pub directory: PathBuf,
    /// Run them even as root.
    pub allow_root: bool,
    /// Programs that images would have, by their path in them: where this machine has them.
    pub programs: BTreeMap<String, PathBuf>,
}

/// What all pods share.
pub(crate) struct Shared {
    client: Client,
    recorder: Recorder,
    directories: Directories,
    programs: BTreeMap<String, PathBuf>,
    groups: Groups,
    table: Table,
    pace: Pace,
}

impl Shared {
    /// Removes directories where that may take long.
    fn remove(self: &Arc<Self>, remove: impl FnOnce(&Directories) + Send + 'static) {
        let shared = self.clone();
        tokio::task::spawn_blocking(move || remove(&shared.directories));
    }

    fn remove_pods(self: &Arc<Self>, uids: Vec<String>) {
        self.remove(move |directories| {
            for uid in uids {
                if let Err(error) = directories.remove_pod(&uid) {
                    tracing::warn!(%error, uid, "the directory of a pod stays");
                }
            }
        });
    }
}

/// The opened directory, before any pod.
pub(crate) struct Opened {
    directories: Directories,
    programs: BTreeMap<String, PathBuf>,
    socket: Socket,
}

/// Checks the user, locks the directory and ends what an earlier kubelet left.
pub(crate) fn open(runtime: &ProcessRuntime) -> Result<Opened, Error> {
    if !runtime.allow_root && rustix::process::geteuid().is_root() {
        return Err(Error::Root);
    }
    let path = || runtime.directory.clone();
    let directories = Directories::open(&runtime.directory).map_err(|error| match error {
        directories::Error::InUse => Error::InUse(path()),
        directories::Error::Io(error) => Error::Directory(path(), error),
    })?;
    let killed = leftovers::kill(&directories.pods());
    leftovers::sweep(&directories.pods());
    if killed > 0 {
        tracing::info!(killed, "containers of an earlier kubelet are ended");
    }
    let socket = Socket::bind(&directories.socket());
    let socket = socket.map_err(|error| Error::Directory(path(), error))?;
    Ok(Opened {
        directories,
        programs: runtime.programs.clone(),
        socket,
    })
}

/// Ends the containers of a kubelet that was killed and will not come back, and removes its directory; one that a kubelet
/// uses stays.
pub fn remove_abandoned(directory: &Path) {
    let lock = std::fs::metadata(directory.join("lock"));
    let opened = lock.and_then(|lock| lock.modified());
    let age = opened.ok().and_then(|opened| opened.elapsed().ok());
    // A directory that is just being opened is not locked yet.
    if age.is_none_or(|age| age < Duration::from_secs(60)) {
        return;
    }
    let Ok(directories) = Directories::open(directory) else {
        return;
    };
    leftovers::kill(&directories.pods());
    leftovers::sweep(&directories.pods());
    if let Err(error) = directories.remove() {
        tracing::warn!(%error, directory = %directory.display(), "an abandoned directory stays");
    }
}

impl Opened {
    /// The socket of the kubelet, for its nodes.
    pub(crate) fn address(&self) -> String {
        self.directories.socket().display().to_string()
    }

    /// The workers, and what runs beside them.
    pub(crate) fn start(
        self,
        client: Client,
        recorder: Recorder,
        pace: Pace,
        namespace: Option<String>,
    ) -> (Workers, impl Future<Output = ()>) {
        let shared = Arc::new(Shared {
            client,
            recorder,
            directories: self.directories,
            programs: self.programs,
            groups: Groups::default(),
            table: Table::default(),
            pace,
        });
        let workers = Workers {
            shared: shared.clone(),
            pods: HashMap::new(),
            tasks: JoinSet::new(),
        };
        let beside = async move {
            tokio::join!(
                server::serve(self.socket, shared.clone()),
                claims::run(&shared, namespace.as_deref()),
            );
        };
        (workers, beside)
    }
}

/// The workers of all pods. Dropping them kills every process.
pub(crate) struct Workers {
    shared: Arc<Shared>,
    pods: HashMap<String, watch::Sender<Update>>,
    tasks: JoinSet<()>,
}

impl Workers {
    /// Passes a state of a pod of one of our nodes on.
    pub(crate) fn update(&mut self, pod: &Arc<Pod>, host_ip: &str, lost: bool) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a pod worker panicked");
            }
        }
        let update = Update {
            pod: pod.clone(),
            host_ip: host_ip.to_owned(),
            lost,
            gone: false,
        };
        match self.pods.get(pod.uid()) {
            Some(updates) => {
                updates.send_replace(update);
            }
            None => {
                let (sender, updates) = watch::channel(update);
                self.pods.insert(pod.uid().to_owned(), sender);
                self.tasks.spawn(worker::run(self.shared.clone(), updates));
            }
        }
    }

    /// The API server does not have the pod any more.
    pub(crate) fn remove(&mut self, uid: &str) {
        if let Some(updates) = self.pods.remove(uid) {
            updates.send_modify(|update| update.gone = true);
        }
    }

    /// Every pod was seen: removes the directories of others.
    pub(crate) fn synced(&self, known: impl Fn(&str) -> bool) {
        // A pod that is just gone has a worker that removes its directory.
        let old = |uid: &String| !known(uid) && !self.shared.table.has(uid);
        let uids = self.shared.directories.pod_uids().into_iter();
        self.shared.remove_pods(uids.filter(old).collect());
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.tasks.abort_all();
        // The tasks end later, in the background.
        self.shared.groups.kill_all();
        leftovers::sweep(&self.shared.directories.pods());
    }
}
