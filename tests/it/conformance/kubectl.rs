//! The first hour with kubectl on an embedded cluster. Runs where KUBEBUILDER_ASSETS has a kubectl.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};
use wsman_sim::apiserver::store::Store;
use wsman_sim::apiserver::{Options, Server};
use wsman_sim::kubelet;

use super::client;
use crate::support::skip;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: demo
  annotations:
    sim.wsman.dev/logs: "one\ntwo\nthree"
spec:
  containers:
  - {name: main, image: "img:1"}
"#;

/// An embedded cluster with nodes, and a kubectl with its kubeconfig.
struct Kubectl {
    server: Server,
    binary: PathBuf,
    folder: TempDir,
    _nodes: DropGuard,
}

/// What a run of kubectl printed.
#[derive(Debug)]
struct Printed {
    ok: bool,
    out: String,
    err: String,
}

impl Kubectl {
    async fn start() -> Option<Self> {
        let binary = PathBuf::from(std::env::var_os("KUBEBUILDER_ASSETS")?).join("kubectl");
        binary.is_file().then_some(())?;
        let server = Server::start(Store::new(), Options::default())
            .await
            .expect("start");
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("config"), server.kubeconfig()).expect("a file");
        let stop = CancellationToken::new();
        let nodes = client(&server.kubeconfig()).await;
        tokio::spawn(kubelet::run(
            nodes,
            kubelet::Options::default(),
            stop.clone(),
        ));
        Some(Self {
            server,
            binary,
            folder,
            _nodes: stop.drop_guard(),
        })
    }

    /// Runs kubectl with these arguments, and with `input` for what it reads.
    async fn run(&self, arguments: &str, input: &str) -> Printed {
        let mut command = Command::new(&self.binary);
        command
            .env("KUBECONFIG", self.folder.path().join("config"))
            .env("HOME", self.folder.path())
            .args(arguments.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let input = input.to_owned();
        let run = move || {
            let mut child = command.spawn()?;
            if let Some(mut pipe) = child.stdin.take() {
                // A kubectl that reads nothing may have exited already.
                let _ = pipe.write_all(input.as_bytes());
            }
            child.wait_with_output()
        };
        let output = tokio::task::spawn_blocking(run).await.expect("no panic");
        let output = output.expect("kubectl runs");
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        Printed {
            ok: output.status.success(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    async fn out(&self, arguments: &str) -> String {
        let printed = self.run(arguments, "").await;
        assert!(printed.ok, "kubectl {arguments}: {printed:?}");
        printed.out
    }

    /// The error of a kubectl that fails.
    async fn err(&self, arguments: &str) -> String {
        let printed = self.run(arguments, "").await;
        assert!(!printed.ok, "kubectl {arguments}: {printed:?}");
        printed.err
    }

    async fn demo(&self) {
        let applied = self.run("apply -f -", POD).await;
        assert_eq!(applied.out, "pod/demo created", "{applied:?}");
        self.out("wait --for=condition=Ready pod/demo --timeout=60s")
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_applies_explains_and_sorts() {
    let Some(kubectl) = Kubectl::start().await else {
        return skip("kubectl_applies_explains_and_sorts");
    };
    kubectl.demo().await;
    let again = kubectl.run("apply -f -", POD).await;
    assert_eq!(again.out, "pod/demo unchanged", "{again:?}");
    let labelled = POD.replace("  name: demo\n", "  name: demo\n  labels: {a: b}\n");
    let changed = kubectl.run("apply -f -", &labelled).await;
    assert_eq!(changed.out, "pod/demo configured", "{changed:?}");
    let misspelt = POD.replace("image:", "imag:");
    let refused = kubectl.run("apply -f -", &misspelt).await;
    let why = r#"strict decoding error: unknown field "spec.containers[0].imag""#;
    assert!(!refused.ok && refused.err.contains(why), "{refused:?}");
    let warned = kubectl
        .run(
            "apply --validate=warn -f -",
            &POD.replace("  containers", "  odd: 1\n  containers"),
        )
        .await;
    assert!(
        warned.err.contains(r#"unknown field "spec.odd""#),
        "{warned:?}"
    );
    let ours = kubectl.run("apply --server-side -f -", POD).await;
    assert!(
        !ours.ok && ours.err.contains("use kubectl apply without --server-side"),
        "{ours:?}"
    );

    kubectl.out("create configmap zz --from-literal=a=b").await;
    kubectl.out("create configmap aa --from-literal=a=b").await;
    let sorted = kubectl
        .out("get configmaps --sort-by=.metadata.creationTimestamp -o name")
        .await;
    assert!(
        sorted.contains("configmap/aa") && sorted.contains("configmap/zz"),
        "{sorted}"
    );
    let sorted = kubectl
        .out("get configmaps --sort-by=.metadata.name --no-headers")
        .await;
    assert!(sorted.starts_with("aa"), "{sorted}");
    let explained = kubectl.out("explain pod.spec.containers.image").await;
    assert!(explained.contains("FIELD: image <string>"), "{explained}");
    let explained = kubectl.out("explain service.spec").await;
    assert!(explained.contains("clusterIP\t<string>"), "{explained}");
    let explained = kubectl.out("explain lease").await;
    assert!(explained.contains("coordination.k8s.io"), "{explained}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reads_logs() {
    let Some(kubectl) = Kubectl::start().await else {
        return skip("kubectl_reads_logs");
    };
    kubectl.demo().await;
    assert_eq!(kubectl.out("logs demo").await, "one\ntwo\nthree");
    assert_eq!(kubectl.out("logs demo --tail=1").await, "three");
    let stamped = kubectl
        .out("logs demo -c main --timestamps --since=1h")
        .await;
    assert!(
        stamped.starts_with("20") && stamped.ends_with("Z three"),
        "{stamped}"
    );
    assert_eq!(
        kubectl
            .out("logs demo --since-time=2999-01-01T00:00:00Z")
            .await,
        ""
    );
    let err = kubectl.err("logs demo --previous").await;
    assert!(
        err.contains(r#"previous terminated container "main" in pod "demo" not found"#),
        "{err}"
    );
    let err = kubectl.err("logs demo -c other").await;
    assert!(
        err.contains("container other is not valid for pod demo"),
        "{err}"
    );

    kubectl
        .out("run plain --image=img:2 --restart=Never --annotations=sim.wsman.dev/exit-after=300ms")
        .await;
    kubectl
        .out("wait --for=jsonpath={.status.phase}=Succeeded pod/plain --timeout=60s")
        .await;
    let lines = kubectl.out("logs plain").await;
    assert_eq!(
        lines,
        "simulated: container plain of image img:2 has started\n\
         simulated: container plain has ended, exit code 0"
    );
    kubectl
        .out("run stuck --image=img:3 --annotations=sim.wsman.dev/image-pull-error=ErrImagePull")
        .await;
    kubectl
        .out("wait --for=jsonpath={.status.phase}=Pending pod/stuck --timeout=60s")
        .await;
    let err = kubectl.err("logs stuck").await;
    assert!(err.contains("is waiting to start"), "{err}");

    // A log that is followed ends with the pod.
    let follow = kubectl.run("logs -f demo", "");
    let (followed, _) = tokio::join!(follow, kubectl.out("delete pod demo --wait=false"));
    assert!(followed.out.starts_with("one\ntwo\nthree"), "{followed:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_reports_what_an_embedded_cluster_lacks() {
    let Some(kubectl) = Kubectl::start().await else {
        return skip("kubectl_reports_what_an_embedded_cluster_lacks");
    };
    kubectl.demo().await;
    for arguments in ["attach demo", "port-forward pod/demo 18080:80"] {
        let err = kubectl.err(arguments).await;
        assert!(err.contains("are simulated"), "kubectl {arguments}: {err}");
    }
    let ran = kubectl.run("exec demo -- ls", "").await;
    assert!(ran.ok && ran.out.is_empty(), "{ran:?}");
    assert!(ran.err.contains("simulated: nothing was run"), "{ran:?}");
    // It copies nothing, and kubectl prints why.
    let ran = kubectl.run("cp demo:/etc/hosts hosts", "").await;
    assert!(ran.out.contains("simulated: nothing was run"), "{ran:?}");
    let err = kubectl.err("top pod").await;
    assert!(err.contains("Metrics API not available"), "{err}");
    assert_eq!(kubectl.out("auth can-i create pods").await, "yes");
    assert!(kubectl.out("auth can-i --list").await.contains("*.*"));
    assert!(kubectl.out("auth whoami").await.contains("embedded"));
    kubectl.server.rights().take("create", "pods");
    assert_eq!(kubectl.run("auth can-i create pods", "").await.out, "no");
}

#[tokio::test(flavor = "multi_thread")]
async fn server_and_nodes_name_one_version() {
    let Some(kubectl) = Kubectl::start().await else {
        return skip("server_and_nodes_name_one_version");
    };
    kubectl.demo().await;
    let server = kubectl.out("get --raw /version").await;
    let server: serde_json::Value = serde_json::from_str(&server).expect("JSON");
    let path = "get nodes -o jsonpath={.items[*].status.nodeInfo.kubeletVersion}";
    let nodes = kubectl.out(path).await;
    let versions: Vec<_> = nodes.split_whitespace().collect();
    assert_eq!(versions.len(), 2);
    assert!(
        versions
            .iter()
            .all(|version| server["gitVersion"] == *version),
        "{nodes} {server}"
    );
    let described = kubectl.out("describe pod demo").await;
    assert!(
        described.contains("Successfully assigned") || described.contains("Scheduled"),
        "{described}"
    );
    let described = kubectl.out("describe nodes").await;
    assert!(described.contains("Kubelet Version"), "{described}");
    let events = kubectl.out("get events").await;
    assert!(
        events.starts_with("LAST SEEN") && events.contains("pod/demo"),
        "{events}"
    );
}
