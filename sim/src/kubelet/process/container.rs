//! A container as a process: its start, its output, its end.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use rustix::process::Signal;
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::group::{Group, Groups};
use super::leftovers;
use super::logs::{self, Progress, Writer};
use super::paths::Paths;
use super::rootfs::Rootfs;

/// A process that has ended may have left its output to others; they have this long.
const DRAIN: Duration = Duration::from_millis(500);

/// Where and with which variables the processes of a container run.
#[derive(Clone)]
pub(crate) struct Environment {
    home: PathBuf,
    variables: Vec<(String, String)>,
    directory: PathBuf,
    paths: Paths,
}

impl fmt::Debug for Environment {
    /// Variables may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl Environment {
    /// The variables of the pod, and those that every container has.
    pub(crate) fn new(home: &std::path::Path, rootfs: &Rootfs, pod: &[(String, String)]) -> Self {
        let path = std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".into());
        let own = [
            ("PATH", path),
            ("HOME", home.display().to_string()),
            ("TMPDIR", rootfs.tmp.display().to_string()),
            (leftovers::ROOTFS, rootfs.root.display().to_string()),
            (
                "TERMINATION_LOG",
                rootfs.termination_log.display().to_string(),
            ),
        ];
        let own = own.map(|(name, value)| (name.to_owned(), value));
        let pod = pod
            .iter()
            .map(|(name, value)| (name.clone(), rootfs.paths.rewrite(value)));
        Environment {
            home: home.to_owned(),
            variables: own.into_iter().chain(pod).collect(),
            directory: rootfs.directory.clone(),
            paths: rootfs.paths.clone(),
        }
    }

    /// A process of the container in a group of its own.
    fn command(&self, line: &[String]) -> io::Result<Command> {
        let mut parts = line.iter().map(|part| self.paths.rewrite(part));
        let program = parts.next().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command
            .args(parts)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true);
        Ok(command)
    }

    /// Starts a process whose streams are as `edit` wants them; without, it has none.
    pub(crate) fn spawn(
        &self,
        line: &[String],
        groups: &Groups,
        edit: impl FnOnce(&mut Command),
    ) -> io::Result<(Child, Option<Group>)> {
        let mut command = self.command(line)?;
        edit(&mut command);
        let child = command.spawn()?;
        let group = groups.register(child.id(), &self.home);
        Ok((child, group))
    }

    /// Runs a command that is not longer awaited than `limit`; returns its exit code.
    pub(crate) async fn run(
        &self,
        line: &[String],
        limit: Duration,
        groups: &Groups,
    ) -> Result<i32, String> {
        let started = self.spawn(line, groups, |_| {});
        let program = line.first().map(String::as_str).unwrap_or_default();
        let (mut child, _group) =
            started.map_err(|error| format!("cannot start {program:?}: {error}"))?;
        match timeout(limit, child.wait()).await {
            Ok(Ok(status)) => Ok(exit_code(status)),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("command timed out after {}s", limit.as_secs())),
        }
    }
}

/// What is to be started.
#[derive(Debug)]
pub(crate) struct Launch {
    pub(crate) home: PathBuf,
    /// Counts the starts of the container.
    pub(crate) run: i32,
    /// Without one, nothing is started; the container only waits.
    pub(crate) line: Option<Vec<String>>,
    pub(crate) environment: Environment,
    /// A container that only waits does so for ever, or this long.
    pub(crate) waits: Option<Duration>,
    pub(crate) message: Message,
}

/// Where a termination message comes from.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) file: PathBuf,
    pub(crate) from_log: bool,
}

/// A container that runs.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) run: i32,
    pub(crate) environment: Environment,
    pub(crate) log: watch::Receiver<Progress>,
    /// Cancelled when the container has ended, and what was started in it must end too.
    pub(crate) ended: CancellationToken,
    group: Option<Arc<Group>>,
    stopped: CancellationToken,
}

impl Running {
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Ends it alone: SIGTERM, and after the grace SIGKILL.
    pub(crate) async fn end_within(self: Arc<Self>, grace: Duration) {
        self.terminate();
        if timeout(grace, self.ended.cancelled()).await.is_err() {
            self.kill();
        }
    }

    fn signal(&self, signal: Signal) {
        self.stopped.cancel();
        if let Some(group) = &self.group {
            group.signal(signal);
        }
    }
}

/// How a container ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) code: i32,
    pub(crate) message: Option<String>,
}

/// Starts the container; the future ends with it, and must be polled for its output to be written.
pub(crate) fn start(
    launch: Launch,
    groups: &Groups,
) -> io::Result<(Arc<Running>, impl Future<Output = End> + use<>)> {
    let log = Writer::create(&launch.home, launch.run)?;
    let (child, group) = match &launch.line {
        None => {
            let text = "this container has no command, and its image is not read: it only waits";
            log.write("stderr", 'F', text.as_bytes());
            (None, None)
        }
        Some(line) => {
            let (child, group) = launch.environment.spawn(line, groups, |command| {
                command.stdout(Stdio::piped()).stderr(Stdio::piped());
            })?;
            (Some(child), group.map(Arc::new))
        }
    };
    let running = Arc::new(Running {
        run: launch.run,
        environment: launch.environment.clone(),
        log: log.progress(),
        ended: CancellationToken::new(),
        group: group.clone(),
        stopped: CancellationToken::new(),
    });
    let handle = running.clone();
    let end = async move {
        let _ended = handle.ended.clone().drop_guard();
        let code = match child {
            Some(child) => {
                let root = launch.home.join("rootfs");
                run(child, &log, group, root).await
            }
            None => {
                wait(&handle.stopped, launch.waits).await;
                0
            }
        };
        drop(log);
        let path = logs::path(&launch.home, launch.run);
        let log = (launch.message.from_log && code != 0).then_some(path);
        let message = logs::termination_message(&launch.message.file, log.as_deref());
        End { code, message }
    };
    Ok((running, end))
}

/// Copies the output of a process until its end, which is also that of its group and of all that it started.
async fn run(mut child: Child, log: &Writer, group: Option<Arc<Group>>, root: PathBuf) -> i32 {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let output = async { tokio::join!(log.copy("stdout", stdout), log.copy("stderr", stderr)) };
    tokio::pin!(output);
    let mut closed = false;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status,
            _ = &mut output, if !closed => closed = true,
        }
    };
    if let Some(group) = group {
        group.end();
    }
    let _ = tokio::task::spawn_blocking(move || leftovers::sweep(&root)).await;
    if !closed {
        let _ = timeout(DRAIN, output).await;
    }
    status.map_or(255, exit_code)
}

async fn wait(stopped: &CancellationToken, limit: Option<Duration>) {
    match limit {
        Some(limit) => drop(timeout(limit, stopped.cancelled()).await),
        None => stopped.cancelled().await,
    }
}

/// The exit code as a shell has it.
pub(crate) fn exit_code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    let signal = status.signal().map(|signal| 128 + signal);
    status.code().or(signal).unwrap_or(255)
}
