//! Commands beside the process of a container.

use k8s_openapi::api::core::v1::Pod;
use kube::api::AttachParams;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::world::{World, empty_dir, shell, start};

async fn running() -> World {
    let world = start().await;
    let mut main = shell("main", "sleep 1000");
    main["env"] = json!([{ "name": "GREETING", "value": "hello" }]);
    let spec = json!({ "containers": [main], "volumes": empty_dir() });
    world.pod("p", spec).await;
    world.until_ready("p").await;
    world
}

#[tokio::test]
async fn a_command_has_streams_and_an_exit_code() {
    let world = running().await;
    let script = "cat; echo $GREETING; echo error >&2; touch \"$1/file\"; exit 3";
    let params = AttachParams::default().stdin(true).stderr(true);
    let command = ["sh", "-c", script, "sh", "/data"];
    let mut process = world
        .api::<Pod>()
        .exec("p", command, &params)
        .await
        .unwrap();
    let mut stdin = process.stdin().unwrap();
    stdin.write_all(b"from stdin\n").await.unwrap();
    stdin.shutdown().await.unwrap();
    drop(stdin);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let mut streams = (process.stdout().unwrap(), process.stderr().unwrap());
    let status = process.take_status().unwrap();
    streams.0.read_to_string(&mut stdout).await.unwrap();
    streams.1.read_to_string(&mut stderr).await.unwrap();
    assert_eq!(
        (stdout.as_str(), stderr.as_str()),
        ("from stdin\nhello\n", "error\n")
    );
    let status = json!(status.await.unwrap());
    assert_eq!(status["status"], "Failure");
    assert_eq!(status["reason"], "NonZeroExitCode");
    let cause = &status["details"]["causes"][0];
    assert_eq!(
        (&cause["reason"], &cause["message"]),
        (&json!("ExitCode"), &json!("3"))
    );
    let pod = json!(world.api::<Pod>().get("p").await.unwrap());
    assert!(world.home(&pod).join("volumes/data/file").exists());
}

#[tokio::test]
async fn a_success_is_a_success() {
    let world = running().await;
    let params = AttachParams::default().stderr(false);
    let exec = world.api::<Pod>();
    let mut process = exec.exec("p", ["true"], &params).await.unwrap();
    let status = process.take_status().unwrap().await.unwrap();
    assert_eq!(status.status.as_deref(), Some("Success"));
    let big = "head -c 5000000 /dev/zero";
    let mut process = exec.exec("p", ["sh", "-c", big], &params).await.unwrap();
    let mut bytes = Vec::new();
    let mut stdout = process.stdout().unwrap();
    stdout.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len(), 5_000_000);
}

#[tokio::test]
async fn what_cannot_be_executed_is_refused() {
    let world = running().await;
    let api = world.api::<Pod>();
    let params = AttachParams::default();
    let terminal = AttachParams::interactive_tty();
    for (command, params) in [(vec!["true"], &terminal), (vec![], &params)] {
        assert!(
            api.exec("p", command.clone(), params).await.is_err(),
            "{command:?}"
        );
    }
    let mut process = api.exec("p", ["/no/program"], &params).await.unwrap();
    let status = json!(process.take_status().unwrap().await.unwrap());
    assert_eq!(status["details"]["causes"][0]["message"], "127");
    // Without a process, there is nothing beside which a command could run.
    let over = json!({ "containers": [shell("main", "true")], "volumes": empty_dir() });
    world.pod("over", over).await;
    world.until_phase("over", "Succeeded").await;
    assert!(api.exec("over", ["true"], &params).await.is_err());
}

/// As `kubectl` does it, if it is there.
#[tokio::test(flavor = "multi_thread")]
async fn kubectl_execs_and_copies() {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(std::path::PathBuf::from);
    let Some(kubectl) = assets
        .map(|assets| assets.join("kubectl"))
        .filter(|path| path.exists())
    else {
        eprintln!("skipped: no kubectl in KUBEBUILDER_ASSETS");
        return;
    };
    let world = running().await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    std::fs::write(&kubeconfig, world.server.kubeconfig()).unwrap();
    let run = async |arguments: &[&str], input: &str| {
        let mut command = tokio::process::Command::new(&kubectl);
        command.arg("--kubeconfig").arg(&kubeconfig).args(arguments);
        command.stdin(std::process::Stdio::piped());
        command.stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let output = child.wait_with_output().await.unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        (output.status.code().unwrap(), text)
    };
    let exec = ["exec", "-i", "p", "--", "sh", "-c", "cat; exit 7"];
    assert_eq!(run(&exec, "piped\n").await, (7, "piped\n".to_owned()));
    let exec = ["exec", "p", "--", "echo", "/data"];
    let (code, text) = run(&exec, "").await;
    assert!(code == 0 && text.ends_with("/volumes/data\n"), "{text}");
    let file = folder.path().join("file");
    std::fs::write(&file, "copied").unwrap();
    let copy = ["cp", file.to_str().unwrap(), "p:/data/file"];
    assert_eq!(run(&copy, "").await.0, 0);
    let read = ["exec", "p", "--", "cat", "/data/file"];
    assert_eq!(run(&read, "").await, (0, "copied".to_owned()));
}
