//! A real control plane for tests: etcd and kube-apiserver, and a garbage collector where there is one.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::sync::OnceCell;

/// etcd and kube-apiserver on free loopback ports. They end with this value, and with the test process.
pub(crate) struct RealCluster {
    dir: PathBuf,
    assets: PathBuf,
    etcd_port: u16,
    port: u16,
    config: Config,
    api_server: Mutex<Option<Process>>,
    _others: Vec<Process>,
}

/// The cluster that the tests of this process share; none without binaries.
pub(crate) async fn real() -> Option<&'static RealCluster> {
    static SHARED: OnceCell<Option<RealCluster>> = OnceCell::const_new();
    SHARED.get_or_init(RealCluster::start_own).await.as_ref()
}

/// Has the API server serve volume snapshots, with the definitions in `WSMAN_SNAPSHOT_CRDS`; false where that names none.
pub(crate) async fn serve_snapshots(client: &Client) -> bool {
    let Some(folder) = std::env::var_os("WSMAN_SNAPSHOT_CRDS") else {
        return false;
    };
    let group = "snapshot.storage.k8s.io";
    for kinds in [
        "volumesnapshots",
        "volumesnapshotcontents",
        "volumesnapshotclasses",
    ] {
        let file = Path::new(&folder).join(format!("{group}_{kinds}.yaml"));
        let definition = fs::read(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()));
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let request = http::Request::post(path).header("content-type", "application/yaml");
        match client.request_text(request.body(definition).unwrap()).await {
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            made => drop(made.unwrap()),
        }
        let start = Instant::now();
        let list = || http::Request::get(format!("/apis/{group}/v1/{kinds}"));
        while let Err(why) = client.request_text(list().body(Vec::new()).unwrap()).await {
            assert!(start.elapsed() < Duration::from_secs(60), "{why}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    true
}

/// Makes a namespace for one test.
pub(crate) async fn namespace(client: &Client, test: &str) -> String {
    let mut namespace = Namespace::default();
    let prefix: String = test.replace('_', "-").chars().take(30).collect();
    namespace.metadata.generate_name = Some(format!("{prefix}-"));
    Api::all(client.clone())
        .create(&PostParams::default(), &namespace)
        .await
        .unwrap()
        .name_any()
}

impl RealCluster {
    /// A cluster for a test that breaks it.
    pub(crate) async fn start_own() -> Option<RealCluster> {
        let assets = PathBuf::from(std::env::var_os("KUBEBUILDER_ASSETS")?);
        let has = |name: &str| assets.join(name).is_file();
        (has("etcd") && has("kube-apiserver")).then_some(())?;
        // The shell that guards etcd removes it, also if no destructor runs.
        let dir = tempfile::tempdir().unwrap().keep();
        let [etcd_port, peer_port, port] = free_ports();
        write_credentials(&dir, port);
        let etcd = start_etcd(&assets, &dir, etcd_port, peer_port);
        let kubeconfig = Kubeconfig::read_from(dir.join("kubeconfig")).unwrap();
        let options = KubeConfigOptions::default();
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
        let mut config = config.unwrap();
        config.default_retry = false;
        let mut cluster = RealCluster {
            dir,
            assets,
            etcd_port,
            port,
            config,
            api_server: Mutex::new(None),
            _others: vec![etcd],
        };
        cluster.start_api_server().await;
        cluster._others.extend(cluster.start_controllers());
        Some(cluster)
    }

    /// Whether a controller manager collects garbage.
    pub(crate) fn has_controllers(&self) -> bool {
        self.assets.join("kube-controller-manager").is_file()
    }

    /// A new client: one belongs to the runtime, so to the test, that made it.
    pub(crate) fn client(&self) -> Client {
        Client::try_from(self.config.clone()).unwrap()
    }

    pub(crate) fn kubeconfig_path(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    pub(crate) fn etcd_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.etcd_port)
    }

    /// Kills the API server and starts it again on the same port and etcd.
    pub(crate) async fn restart_api_server(&self) {
        self.stop_api_server();
        self.start_api_server().await;
    }

    /// Kills the API server.
    pub(crate) fn stop_api_server(&self) {
        drop(self.api_server.lock().unwrap().take());
    }

    /// Starts the API server, and waits until it is ready.
    pub(crate) async fn start_api_server(&self) {
        let process = self.spawn_api_server();
        *self.api_server.lock().unwrap() = Some(process);
        let client = self.client();
        let ask = |path: &'static str| {
            let request = http::Request::get(path).body(Vec::new()).unwrap();
            tokio::time::timeout(Duration::from_secs(5), client.request_text(request))
        };
        let start = Instant::now();
        for path in ["/readyz", "/api/v1/namespaces/default"] {
            while !matches!(ask(path).await, Ok(Ok(_))) {
                assert!(start.elapsed() < Duration::from_secs(120), "{}", self.log());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }

    /// Compacts etcd, so that older resource versions are gone.
    pub(crate) async fn compact_history(&self) {
        // etcd's own JSON gateway: a range of one key returns the revision.
        let current = self.etcd("/v3/kv/range", r#"{"key":"AA=="}"#).await;
        let revision = current["header"]["revision"].as_str().unwrap().to_owned();
        let body = format!(r#"{{"revision":"{revision}","physical":true}}"#);
        self.etcd("/v3/kv/compaction", &body).await;
    }

    async fn etcd(&self, path: &str, body: &str) -> serde_json::Value {
        let config = Config::new(self.etcd_endpoint().parse().unwrap());
        let client = Client::try_from(config).unwrap();
        let request = http::Request::post(path).body(body.as_bytes().to_vec());
        client.request(request.unwrap()).await.unwrap()
    }

    fn spawn_api_server(&self) -> Process {
        let (dir, etcd) = (&self.dir, self.etcd_endpoint());
        let file = |name: &str| dir.join(name).into_os_string().into_string().unwrap();
        let port = self.port.to_string();
        let (cert, key) = (file("server.crt"), file("server.key"));
        let (tokens, sa_public, sa) = (file("tokens.csv"), file("sa.pub"), file("sa.key"));
        #[rustfmt::skip]
        let flags = [
            "--etcd-servers", &etcd,
            "--bind-address", "127.0.0.1", "--advertise-address", "127.0.0.1", "--secure-port", &port,
            "--endpoint-reconciler-type", "none",
            "--tls-cert-file", &cert, "--tls-private-key-file", &key,
            "--token-auth-file", &tokens, "--authorization-mode", "RBAC",
            "--service-account-issuer", "https://kubernetes.default.svc",
            "--service-account-key-file", &sa_public, "--service-account-signing-key-file", &sa,
            "--service-cluster-ip-range", "10.96.0.0/16", "--allow-privileged",
            // No controller creates a namespace's service account `default` here.
            "--disable-admission-plugins", "ServiceAccount",
        ];
        Process::start(
            &self.assets.join("kube-apiserver"),
            &flags,
            &dir.join("kube-apiserver.log"),
            None,
        )
    }

    fn start_controllers(&self) -> Option<Process> {
        let binary = self.assets.join("kube-controller-manager");
        let kubeconfig = self
            .kubeconfig_path()
            .into_os_string()
            .into_string()
            .unwrap();
        let volumes = self.dir.join("flexvolume");
        let volumes = volumes.into_os_string().into_string().unwrap();
        #[rustfmt::skip]
        let flags = [
            "--kubeconfig", &kubeconfig, "--leader-elect=false", "--secure-port", "0",
            "--controllers", "garbage-collector-controller,namespace-controller",
            "--kube-api-qps", "500", "--kube-api-burst", "1000",
            "--flex-volume-plugin-dir", &volumes,
        ];
        let log = self.dir.join("kube-controller-manager.log");
        binary
            .is_file()
            .then(|| Process::start(&binary, &flags, &log, None))
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("kube-apiserver.log")).unwrap_or_default()
    }
}

/// A process that ends when this value, or the process that holds it, does.
struct Process(Child);

impl Process {
    fn start(binary: &Path, flags: &[&str], log: &Path, remove: Option<&Path>) -> Process {
        // The shell waits for the end of its input, which the kernel closes even after a kill -9.
        let script =
            r#"dir=$1; shift; "$@" & pid=$!; read -r _; kill -9 $pid; wait $pid; rm -rf "$dir""#;
        let log = fs::File::options().create(true).append(true).open(log);
        let log = log.unwrap();
        let child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(remove.unwrap_or(Path::new("")))
            .arg(binary)
            .args(flags)
            .stdin(Stdio::piped())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        Process(child.unwrap())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn start_etcd(assets: &Path, dir: &Path, port: u16, peer: u16) -> Process {
    let data = dir.join("etcd").into_os_string().into_string().unwrap();
    let (client, peer) = (
        format!("http://127.0.0.1:{port}"),
        format!("http://127.0.0.1:{peer}"),
    );
    let cluster = format!("envtest={peer}");
    #[rustfmt::skip]
    let flags = [
        "--name", "envtest", "--data-dir", &data, "--unsafe-no-fsync", "--log-level", "warn",
        "--listen-client-urls", &client, "--advertise-client-urls", &client,
        "--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer, "--initial-cluster", &cluster,
    ];
    Process::start(
        &assets.join("etcd"),
        &flags,
        &dir.join("etcd.log"),
        Some(dir),
    )
}

fn free_ports<const N: usize>() -> [u16; N] {
    // All at once, so that no port is used twice.
    let listeners: [_; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// A CA, the server's certificate, keys for service account tokens, an admin's token, and the kubeconfig.
fn write_credentials(dir: &Path, port: u16) {
    let write = |name: &str, text: &str| fs::write(dir.join(name), text).unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate().unwrap();
    let ca_cert = ca.self_signed(&ca_key).unwrap().pem();
    let key = KeyPair::generate().unwrap();
    let names = ["localhost", "127.0.0.1", "10.96.0.1"].map(str::to_owned);
    let server = CertificateParams::new(names).unwrap();
    let server = server.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    write("server.crt", &server.pem());
    write("server.key", &key.serialize_pem());
    let service_accounts = KeyPair::generate().unwrap();
    write("sa.key", &service_accounts.serialize_pem());
    write("sa.pub", &service_accounts.public_key_pem());
    write("ca.crt", &ca_cert);
    let token = format!("test-{port}");
    write(
        "tokens.csv",
        &format!("{token},admin,admin,\"system:masters\"\n"),
    );
    let kubeconfig = serde_json::json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "envtest", "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority": dir.join("ca.crt"),
        } }],
        "users": [{ "name": "admin", "user": { "token": token } }],
        "contexts": [{ "name": "envtest", "context": { "cluster": "envtest", "user": "admin", "namespace": "default" } }],
        "current-context": "envtest",
    });
    write("kubeconfig", &kubeconfig.to_string());
}
