//! A cluster of one test, and the waits for what happens in it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client, Config};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use wsman_sim::apiserver::store::Store;
use wsman_sim::apiserver::{Options, Server};
use wsman_sim::kubelet::{self, ProcessRuntime, Runtime};

/// Timeout of a wait.
const TIMEOUT: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) client: Client,
    pub(crate) server: Server,
    kubelet: Option<(JoinHandle<Result<(), kubelet::Error>>, DropGuard)>,
    folder: tempfile::TempDir,
}

/// A cluster with one node whose containers are processes.
pub(crate) async fn start() -> World {
    let mut world = without_kubelet().await;
    world.start_kubelet();
    world
}

pub(crate) async fn without_kubelet() -> World {
    let server = Server::start(Store::new(), Options::default())
        .await
        .unwrap();
    World {
        client: client(&server.kubeconfig()).await,
        server,
        kubelet: None,
        folder: tempfile::tempdir().unwrap(),
    }
}

pub(crate) async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options).await;
    Client::try_from(config.unwrap()).unwrap()
}

pub(crate) fn options(directory: &Path, allow_root: bool) -> kubelet::Options {
    kubelet::Options {
        nodes: 1,
        runtime: Runtime::Process(ProcessRuntime {
            directory: directory.to_owned(),
            allow_root,
            ..ProcessRuntime::default()
        }),
        ..kubelet::Options::default()
    }
}

impl World {
    pub(crate) fn start_kubelet(&mut self) {
        let stop = CancellationToken::new();
        let options = options(&self.directory(), true);
        let run = kubelet::run(self.client.clone(), options, stop.clone());
        self.kubelet = Some((tokio::spawn(run), stop.drop_guard()));
    }

    /// A kubelet that plays the containers.
    pub(crate) fn start_playing(&mut self) {
        let stop = CancellationToken::new();
        let run = kubelet::run(
            self.client.clone(),
            kubelet::Options::default(),
            stop.clone(),
        );
        self.kubelet = Some((tokio::spawn(run), stop.drop_guard()));
    }

    /// Stops the kubelet, and returns when it has.
    pub(crate) async fn stop_kubelet(&mut self) {
        let (task, stop) = self.kubelet.take().unwrap();
        drop(stop);
        task.await.unwrap().unwrap();
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.folder.path().join("runtime")
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), "default")
    }

    pub(crate) async fn create<K>(&self, object: Value) -> K
    where
        K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + DeserializeOwned
            + serde::Serialize,
    {
        let object = serde_json::from_value(object).unwrap();
        let api = self.api::<K>();
        api.create(&PostParams::default(), &object).await.unwrap()
    }

    /// Creates a pod with this spec; it restarts nothing unless the spec says so.
    pub(crate) async fn pod(&self, name: &str, mut spec: Value) -> Pod {
        if spec["restartPolicy"].is_null() {
            spec["restartPolicy"] = json!("Never");
        }
        self.create(json!({ "metadata": { "name": name }, "spec": spec }))
            .await
    }

    /// Sets an annotation, or removes it.
    pub(crate) async fn annotate(&self, name: &str, key: &str, value: Option<&str>) {
        let patch =
            kube::api::Patch::Merge(json!({ "metadata": { "annotations": { key: value } } }));
        let api = self.api::<Pod>();
        api.patch(name, &kube::api::PatchParams::default(), &patch)
            .await
            .unwrap();
    }

    /// Waits until the pod, as JSON, is as wanted.
    pub(crate) async fn until(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let api = self.api::<Pod>();
        let met = |pod: Option<&Pod>| pod.is_some_and(|pod| wanted(&json!(pod)));
        let wait = tokio::time::timeout(TIMEOUT, await_condition(api.clone(), name, met));
        match wait.await {
            Ok(pod) => json!(pod.unwrap().unwrap()),
            Err(_) => panic!("{name} is {}", json!(api.get(name).await.unwrap())),
        }
    }

    pub(crate) async fn until_phase(&self, name: &str, phase: &str) -> Value {
        self.until(name, |pod| pod["status"]["phase"] == phase)
            .await
    }

    pub(crate) async fn until_ready(&self, name: &str) -> Value {
        self.until(name, is_ready).await
    }

    /// Deletes the pod and waits until it is gone.
    pub(crate) async fn delete(&self, name: &str) {
        let api = self.api::<Pod>();
        let pod = api.get(name).await.unwrap();
        let uid = pod.metadata.uid.unwrap();
        api.delete(name, &DeleteParams::default()).await.unwrap();
        let gone = await_condition(api, name, conditions::is_deleted(&uid));
        tokio::time::timeout(TIMEOUT, gone).await.unwrap().unwrap();
    }

    /// Waits for an event with this reason, and returns its message.
    pub(crate) async fn event(&self, reason: &str) -> String {
        let find = async {
            let api = self.api::<Event>();
            let params = kube::api::WatchParams::default();
            let listed = api.list(&ListParams::default()).await.unwrap();
            let has = |event: &Event| event.reason.as_deref() == Some(reason);
            let version = listed.metadata.resource_version.clone().unwrap();
            if let Some(event) = listed.items.into_iter().find(has) {
                return event.message.unwrap();
            }
            let mut events = Box::pin(api.watch(&params, &version).await.unwrap());
            loop {
                let next = futures::StreamExt::next(&mut events).await.unwrap();
                match next.unwrap() {
                    kube::core::WatchEvent::Added(event) if has(&event) => {
                        return event.message.unwrap();
                    }
                    _ => {}
                }
            }
        };
        tokio::time::timeout(TIMEOUT, find).await.unwrap()
    }

    pub(crate) async fn log(&self, pod: &str, container: &str) -> String {
        let params = kube::api::LogParams {
            container: Some(container.to_owned()),
            ..kube::api::LogParams::default()
        };
        self.api::<Pod>().logs(pod, &params).await.unwrap()
    }

    /// The directory of a pod.
    pub(crate) fn home(&self, pod: &Value) -> PathBuf {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        self.directory().join("pods").join(uid)
    }
}

pub(crate) fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let mut all = conditions.into_iter().flatten();
    all.any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// A container that runs a script, with the volume `data` at `/data`.
pub(crate) fn shell(name: &str, script: &str) -> Value {
    json!({
        "name": name, "image": "none", "command": ["sh", "-c", script],
        "volumeMounts": [{ "name": "data", "mountPath": "/data" }],
    })
}

pub(crate) fn empty_dir() -> Value {
    json!([{ "name": "data", "emptyDir": {} }])
}

/// The file of the volume `data` in which containers write what they do.
pub(crate) const ORDER: &str = "$WSMAN_ROOTFS/data/order";

/// A script that runs until it is terminated.
pub(crate) fn until_terminated(name: &str) -> String {
    format!(
        r#"trap 'echo "{name} ends" >> "{ORDER}"; exit 0' TERM; echo "{name} starts" >> "{ORDER}"; while :; do sleep 1000 & wait; done"#
    )
}

/// The state of a container, by its name.
pub(crate) fn container<'a>(pod: &'a Value, name: &str) -> &'a Value {
    let lists = ["containerStatuses", "initContainerStatuses"];
    let mut all = lists
        .iter()
        .flat_map(|list| pod["status"][*list].as_array().into_iter().flatten());
    all.find(|status| status["name"] == name).unwrap()
}

pub(crate) fn terminated<'a>(pod: &'a Value, name: &str) -> &'a Value {
    &container(pod, name)["state"]["terminated"]
}

/// Waits until a path is gone, which no watch shows.
pub(crate) async fn until_removed(path: &Path) {
    poll(|| !path.exists()).await;
}

/// Waits until a process has ended.
pub(crate) async fn until_ended(pid: &str) {
    let status = PathBuf::from(format!("/proc/{pid}/stat"));
    poll(|| match std::fs::read_to_string(&status) {
        Ok(text) => text.contains(") Z "),
        Err(_) => true,
    })
    .await;
}

/// Checks until it is so: the file system and `/proc` say nothing by themselves.
pub(crate) async fn poll(done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(TIMEOUT, wait).await.unwrap();
}
