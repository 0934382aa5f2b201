//! A private RabbitMQ node for tests: its own ports, folder and cookie; it ends with this value, and with the process.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use tokio::sync::{MutexGuard, OnceCell};

/// The directory of the scripts that do not switch users.
const SCRIPTS: &str = "/usr/lib/rabbitmq/bin";

/// One node, running or not.
pub(crate) struct Node {
    dir: PathBuf,
    name: String,
    port: u16,
    tls_port: u16,
    environment: Vec<(&'static str, String)>,
    server: Mutex<Option<Child>>,
    keeper: Child,
}

/// The node that the tests of this process share, each with its own vhost; none if it is not installed.
pub(crate) async fn shared(test: &str) -> Option<&'static Node> {
    static SHARED: OnceCell<Option<Node>> = OnceCell::const_new();
    let node = SHARED.get_or_init(started).await.as_ref();
    if node.is_none() {
        super::skip_without(test, "rabbitmq", "rabbitmq-server");
    }
    node
}

/// A node that one test at a time may break. It runs, and is whole, when a test gets it.
pub(crate) async fn breakable(test: &str) -> Option<MutexGuard<'static, Node>> {
    static BREAKABLE: OnceCell<Option<tokio::sync::Mutex<Node>>> = OnceCell::const_new();
    let make = || async { started().await.map(tokio::sync::Mutex::new) };
    let Some(node) = BREAKABLE.get_or_init(make).await else {
        super::skip_without(test, "rabbitmq", "rabbitmq-server");
        return None;
    };
    let node = node.lock().await;
    node.signal("-CONT");
    if !node.answers() {
        node.start().await;
    }
    node.alarm(false).await;
    Some(node)
}

/// A node that the caller may break.
pub(crate) async fn started() -> Option<Node> {
    let node = Node::new()?;
    node.start().await;
    Some(node)
}

impl Node {
    /// Prepares a node without starting it; none where it is not installed.
    fn new() -> Option<Self> {
        Path::new(SCRIPTS)
            .join("rabbitmq-server")
            .is_file()
            .then_some(())?;
        let dir = tempfile::tempdir().unwrap().keep();
        let [port, tls_port, dist_port, epmd_port] = free_ports();
        let name = format!("wsman{port}@localhost");
        let file = |name: &str| dir.join(name).into_os_string().into_string().unwrap();
        #[rustfmt::skip]
        let environment = vec![
            ("HOME", file("")),
            ("RABBITMQ_NODENAME", name.clone()),
            ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_NODE_PORT", port.to_string()),
            ("RABBITMQ_DIST_PORT", dist_port.to_string()),
            ("ERL_EPMD_PORT", epmd_port.to_string()),
            ("ERL_EPMD_ADDRESS", "127.0.0.1".to_owned()),
            ("RABBITMQ_MNESIA_BASE", file("db")),
            ("RABBITMQ_LOG_BASE", file("log")),
            ("RABBITMQ_CONFIG_FILE", file("rabbitmq")),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", file("plugins")),
            ("RABBITMQ_PID_FILE", file("pid")),
            ("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}".to_owned()),
        ];
        write_config(&dir, port, tls_port);
        // The shell waits for the end of its input, which the kernel closes even after a kill -9 of the tests.
        let script = r#"read -r _; kill -9 $(cat "$1/pid")
            for _ in 1 2 3 4 5 6 7 8 9 10; do
                epmd -port "$2" -kill; epmd -port "$2" -names || break; sleep 0.1
            done
            rm -rf "$1""#;
        let keeper = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(&dir)
            .arg(epmd_port.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self {
            dir,
            name,
            port,
            tls_port,
            environment,
            server: Mutex::new(None),
            keeper,
        })
    }

    /// Starts it and waits until it speaks AMQP.
    pub(crate) async fn start(&self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("out"))
            .unwrap();
        let mut server = self.server.lock().unwrap().take();
        if let Some(server) = &mut server {
            let _ = server.wait();
        }
        let child = Command::new(format!("{SCRIPTS}/rabbitmq-server"))
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        *self.server.lock().unwrap() = Some(child.unwrap());
        let begun = Instant::now();
        while !self.answers() {
            let printed = || std::fs::read_to_string(self.dir.join("out")).unwrap_or_default();
            assert!(begun.elapsed() < Duration::from_secs(120), "{}", printed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.ctl(&["await_startup"]).await;
    }

    /// Kills it with -9.
    pub(crate) fn kill(&self) {
        self.signal("-KILL");
        self.reap();
    }

    /// Blocks or unblocks publishers, as a lack of memory does.
    pub(crate) async fn alarm(&self, on: bool) {
        let limit: &[&str] = if on { &["0"] } else { &["absolute", "512MB"] };
        self.ctl(&[&["set_vm_memory_high_watermark"], limit].concat())
            .await;
    }

    /// Where it listens.
    pub(crate) fn addr(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Shuts it down, and waits.
    pub(crate) fn terminate(&self) {
        self.signal("-TERM");
        self.reap();
    }

    /// Sends a signal to the broker itself, not to the script that guards it.
    pub(crate) fn signal(&self, signal: &str) {
        if let Ok(pid) = std::fs::read_to_string(self.dir.join("pid")) {
            let mut kill = Command::new("kill");
            let _ = kill
                .args([signal, pid.trim()])
                .stderr(Stdio::null())
                .status();
        }
    }

    fn reap(&self) {
        if let Some(mut server) = self.server.lock().unwrap().take() {
            server.wait().unwrap();
        }
    }

    fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)) else {
            return false;
        };
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.write_all(b"AMQP\x00\x00\x09\x01").is_ok() && stream.read_exact(&mut [0]).is_ok()
    }

    /// Runs rabbitmqctl.
    pub(crate) async fn ctl(&self, words: &[&str]) -> String {
        let mut command = Command::new(format!("{SCRIPTS}/rabbitmqctl"));
        command.args(["-q", "-n", &self.name]).args(words);
        command.envs(self.environment.iter().map(|(k, v)| (k, v)));
        let output = tokio::task::spawn_blocking(move || command.output());
        let output = output.await.unwrap().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "{words:?}: {printed} {}",
            String::from_utf8_lossy(&output.stderr)
        );
        printed
    }

    /// Creates a vhost and a user of the same name with all permissions in it. Returns its URL.
    pub(crate) async fn vhost(&self, name: &str, password: &str) -> String {
        let text = |text: &str| format!("<<\"{text}\">>");
        let (user, pass, all, who) = (text(name), text(password), text(".*"), text("test"));
        let make = format!(
            "rabbit_vhost:add({user}, {who}), rabbit_auth_backend_internal:add_user({user}, {pass}, {who}), \
             rabbit_auth_backend_internal:set_permissions({user}, {user}, {all}, {all}, {all}, {who})."
        );
        self.ctl(&["eval", &make]).await;
        format!("amqp://{name}:{password}@{}/{name}", self.addr())
    }

    /// The same over TLS.
    pub(crate) fn secure(&self, url: &str) -> String {
        let tls = format!("localhost:{}", self.tls_port);
        url.replace("amqp://", "amqps://")
            .replace(&self.addr(), &tls)
    }

    /// The certificate of its TLS port.
    pub(crate) fn authority(&self) -> String {
        self.dir
            .join("tls.crt")
            .into_os_string()
            .into_string()
            .unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        let _ = self.keeper.wait();
        self.reap();
    }
}

fn write_config(dir: &Path, port: u16, tls_port: u16) {
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    let names = vec!["localhost".to_owned()];
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(names).unwrap();
    write("tls.crt", &cert.pem());
    write("tls.key", &signing_key.serialize_pem());
    let path = |name: &str| dir.join(name).into_os_string().into_string().unwrap();
    let (certificate, key) = (path("tls.crt"), path("tls.key"));
    write(
        "rabbitmq.conf",
        &format!(
            "listeners.tcp.1 = 127.0.0.1:{port}\nlisteners.ssl.1 = 127.0.0.1:{tls_port}\n\
             ssl_options.cacertfile = {certificate}\nssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n\
             vm_memory_high_watermark.absolute = 512MB\ndisk_free_limit.absolute = 50MB\n"
        ),
    );
    write("plugins", "[].");
    let cookie = dir.join(".erlang.cookie");
    std::fs::write(&cookie, format!("wsman-{port}")).unwrap();
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&cookie, std::fs::Permissions::from_mode(0o400)).unwrap();
}

fn free_ports<const N: usize>() -> [u16; N] {
    // All at once, so that no port is used twice.
    let listeners: [_; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
