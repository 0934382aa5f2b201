//! A daemon process on its own port that is killed and started again.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tonic::transport::Channel;
use wsman::cli::client::transport::Transport;
use wsman::proto::wsman::GetWorkspacesRequest;
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;

use super::support::proxy::Proxy;

pub(crate) type Client = WorkspaceManagerClient<Transport>;

/// Timeout of a daemon's start and end.
const TIMEOUT: Duration = Duration::from_secs(120);

/// A daemon, running or not, and its arguments.
pub(crate) struct Daemon {
    /// Its name in the history.
    pub(crate) name: &'static str,
    pub(crate) addr: String,
    config: PathBuf,
    kubeconfig: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

/// A shell that guards the process: it ends the process when its input is closed.
struct Process {
    guard: Child,
    pid: u32,
    _stdout: BufReader<ChildStdout>,
}

impl Daemon {
    /// Starts a daemon that reaches the API server through a proxy, and a message bus by a URL file, and writes its
    /// log into a folder.
    pub(crate) fn start(
        name: &'static str,
        proxy: &Proxy,
        namespace: &str,
        bus: &Path,
        folder: &Path,
    ) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        drop(listener);
        let example = concat!(env!("CARGO_MANIFEST_DIR"), "/example-config.json");
        let text = std::fs::read_to_string(example).unwrap();
        let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
        config["manager"]["namespace"] = namespace.into();
        config["rpcServer"]["addr"] = addr.clone().into();
        config["messagebus"] = serde_json::json!({ "urlFile": bus, "confirmTimeout": "3s" });
        for key in ["health", "prometheus"] {
            config.as_object_mut().unwrap().remove(key);
        }
        let path = folder.join(format!("{name}.json"));
        std::fs::write(&path, config.to_string()).unwrap();
        let mut daemon = Self {
            name,
            addr,
            config: path,
            kubeconfig: proxy.kubeconfig.clone(),
            log: folder.join(format!("{name}.log")),
            process: None,
        };
        daemon.spawn();
        daemon
    }

    /// Starts the process, unless it runs.
    pub(crate) fn spawn(&mut self) {
        if self.process.is_some() {
            return;
        }
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let script = r#""$@" & pid=$!; echo $pid; read -r _; kill -9 $pid 2>/dev/null; wait $pid"#;
        let mut guard = Command::new("sh")
            .args([
                "-c",
                script,
                "sh",
                env!("CARGO_BIN_EXE_wsman"),
                "run",
                "--config",
            ])
            .arg(&self.config)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(guard.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        self.process = Some(Process {
            guard,
            pid: line.trim().parse().unwrap(),
            _stdout: stdout,
        });
    }

    /// Kills the process with -9.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.guard.stdin.take());
            process.guard.wait().unwrap();
        }
    }

    /// Shuts the process down and waits for its end.
    pub(crate) async fn terminate(&mut self) {
        if let Some(process) = &self.process {
            let pid = process.pid.to_string();
            let _ = Command::new("kill").args(["-TERM", &pid]).status();
            let begun = Instant::now();
            while self.runs() {
                assert!(begun.elapsed() < TIMEOUT, "{} does not end", self.name);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        self.kill();
    }

    /// The daemon's log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Whether the process is alive.
    pub(crate) fn runs(&self) -> bool {
        self.status("State:").is_some_and(|state| state != "Z")
    }

    /// Megabytes of its own memory: the kernel decides about the pages of the program itself.
    pub(crate) fn resident(&self) -> f64 {
        let kilobytes = self.status("RssAnon:").unwrap_or_default();
        kilobytes.parse::<f64>().unwrap_or_default() / 1024.0
    }

    fn status(&self, key: &str) -> Option<String> {
        let process = self.process.as_ref()?;
        let status = std::fs::read_to_string(format!("/proc/{}/status", process.pid)).ok()?;
        let line = status.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1).map(str::to_owned)
    }

    /// A client that connects at the first call, and again after the daemon was away.
    pub(crate) fn client(&self) -> Client {
        client(&self.addr)
    }

    /// Waits until the daemon answers.
    pub(crate) async fn ready(&self) {
        let (begun, mut client) = (Instant::now(), self.client());
        while client
            .get_workspaces(GetWorkspacesRequest::default())
            .await
            .is_err()
        {
            assert!(begun.elapsed() < TIMEOUT, "{} never answers", self.name);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client of an address.
pub(crate) fn client(addr: &str) -> Client {
    let endpoint = Channel::from_shared(format!("http://{addr}")).unwrap();
    let channel = endpoint
        .connect_timeout(Duration::from_secs(2))
        .connect_lazy();
    Client::new(Transport::Grpc(channel))
}
