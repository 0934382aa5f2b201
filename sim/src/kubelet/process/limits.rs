//! What a process cannot be: pods that need it are refused, and what is left out of the others is listed; pure.
//!
//! A process has the programs, users, network and processes of this machine. Not provided, for any pod: the contents
//! of images, isolation of any kind, users and groups (`securityContext`), limits of resources, image pulls.

use k8s_openapi::api::core::v1::{Container, HostPathVolumeSource, Pod, PodSpec, Probe, Volume};

use super::directories::is_component;

/// Volumes that a process can have.
const VOLUMES: &str = "emptyDir, secret, configMap, downwardAPI, projected, persistentVolumeClaim and directory hostPath volumes";

/// Why the pod cannot run as processes.
pub(crate) fn refused(pod: &Pod) -> Option<String> {
    let spec = pod.spec.as_ref()?;
    let uid = pod.metadata.uid.as_deref().unwrap_or_default();
    let volumes = spec.volumes.iter().flatten();
    let containers = || containers(spec);
    let mut names = std::iter::once(uid)
        .chain(volumes.clone().map(|volume| volume.name.as_str()))
        .chain(containers().map(|container| container.name.as_str()));
    if let Some(name) = names.find(|name| !is_component(name)) {
        return Some(format!("{name:?} is no name of a directory"));
    }
    for volume in volumes {
        if let Some(kind) = foreign(volume) {
            let name = &volume.name;
            return Some(format!(
                "volume {name:?} is a {kind}: a process has {VOLUMES} only"
            ));
        }
    }
    for container in containers() {
        let name = &container.name;
        if container.volume_devices.iter().flatten().next().is_some() {
            return Some(format!(
                "container {name:?} has volumeDevices: a process has no block devices"
            ));
        }
        for (kind, probe) in probes(container) {
            if probe.grpc.is_some() {
                return Some(format!(
                    "container {name:?} has a gRPC {kind}: of a process, only exec, httpGet and tcpSocket are probed"
                ));
            }
        }
    }
    None
}

/// What the pod asks for and does not get.
pub(crate) fn omitted(pod: &Pod) -> Vec<String> {
    let Some(spec) = pod.spec.as_ref() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for container in containers(spec) {
        let name = &container.name;
        let mut omit = |what: &str| all.push(format!("{what} of container {name:?}"));
        if container.command.iter().flatten().next().is_none() {
            omit("the entry point of the image (it only waits, because it has no command)");
        }
        let lifecycle = container.lifecycle.as_ref();
        if lifecycle.is_some_and(|hooks| hooks.post_start.is_some()) {
            omit("the postStart hook");
        }
        let stop = lifecycle.and_then(|hooks| hooks.pre_stop.as_ref());
        if stop.is_some_and(|stop| stop.exec.is_none()) {
            omit("the preStop hook (only exec is run)");
        }
        if container.tty == Some(true) {
            omit("the terminal");
        }
        if container.stdin == Some(true) {
            omit("the stdin");
        }
    }
    all
}

/// The kind of a volume that a process cannot have.
fn foreign(volume: &Volume) -> Option<String> {
    if let Some(projected) = &volume.projected {
        let sources = projected.sources.iter().flatten();
        let known = |source: &&k8s_openapi::api::core::v1::VolumeProjection| {
            source.secret.is_some() || source.config_map.is_some() || source.downward_api.is_some()
        };
        let foreign = sources.into_iter().find(|source| !known(source))?;
        return Some(format!("projected {}", kind(foreign)));
    }
    let known = volume.empty_dir.is_some()
        || volume.secret.is_some()
        || volume.config_map.is_some()
        || volume.downward_api.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.host_path.as_ref().is_some_and(is_directory);
    (!known).then(|| kind(volume))
}

/// The machine of a process is the host.
fn is_directory(path: &HostPathVolumeSource) -> bool {
    let kind = path.type_.as_deref().unwrap_or_default();
    matches!(kind, "" | "Directory" | "DirectoryOrCreate")
}

/// The field of an object that says what it is.
fn kind(object: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(object).unwrap_or_default();
    let mut fields = value.as_object().into_iter().flatten();
    let found = fields.find(|(key, _)| *key != "name");
    found.map_or_else(
        || "volume of an unknown kind".to_owned(),
        |(key, _)| key.clone(),
    )
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let init = spec.init_containers.iter().flatten();
    init.chain(&spec.containers)
}

fn probes(container: &Container) -> impl Iterator<Item = (&'static str, &Probe)> {
    let all = [
        ("readinessProbe", &container.readiness_probe),
        ("startupProbe", &container.startup_probe),
        ("livenessProbe", &container.liveness_probe),
    ];
    all.into_iter()
        .filter_map(|(kind, probe)| Some((kind, probe.as_ref()?)))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(spec: Value) -> Pod {
        let pod = json!({ "metadata": { "uid": "u" }, "spec": spec });
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn what_no_process_can_have_is_refused_by_name() {
        let volume = |source: Value| {
            let mut volume = json!({ "name": "v" });
            for (key, value) in source.as_object().unwrap() {
                volume[key] = value.clone();
            }
            refused(&pod(json!({ "containers": [], "volumes": [volume] })))
        };
        assert_eq!(
            volume(json!({ "hostPath": { "path": "/dev/sda", "type": "BlockDevice" } })),
            Some(format!(
                "volume \"v\" is a hostPath: a process has {VOLUMES} only"
            ))
        );
        assert_eq!(volume(json!({ "hostPath": { "path": "/srv" } })), None);
        let token =
            json!({ "projected": { "sources": [{ "serviceAccountToken": { "path": "t" } }] } });
        assert!(
            volume(token)
                .unwrap()
                .contains("is a projected serviceAccountToken:")
        );
        assert_eq!(volume(json!({ "emptyDir": {} })), None);
        let name = pod(json!({ "containers": [{ "name": "../x" }] }));
        assert_eq!(
            refused(&name),
            Some("\"../x\" is no name of a directory".to_owned())
        );
    }

    #[test]
    fn what_is_left_out_is_listed() {
        let all = omitted(&pod(json!({ "containers": [
            { "name": "a", "command": ["x"], "tty": true },
            { "name": "b" },
        ] })));
        assert_eq!(
            all,
            [
                "the terminal of container \"a\"",
                "the entry point of the image (it only waits, because it has no command) of container \"b\"",
            ]
        );
    }
}
