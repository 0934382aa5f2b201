//! The Kubernetes objects that run wsman in the cluster of its workspaces, with the rights of `src/cluster/rights.rs` alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};
use wsman_store::settings::StoreSettings;

use crate::cluster::rights::{RIGHTS, Right};
use crate::config::{Contents, Kubernetes, NamedFile, Role, Settings};
use crate::daemon;
use crate::redact::show;

/// Name of every object in the namespace.
const NAME: &str = "wsman";
/// Where the configuration is in the container.
const DIRECTORY: &str = "/etc/wsman";
const CONFIG: &str = "config.json";
/// A user without rights in any image.
const USER: u32 = 65_532;

/// What the manifests are made from.
pub(super) struct Deployment<'a> {
    pub(super) image: &'a str,
    pub(super) replicas: u32,
    /// The configuration as it was read.
    pub(super) text: &'a str,
    pub(super) settings: &'a Settings,
    /// The files in it.
    pub(super) named: &'a [NamedFile],
    /// The contents of pod templates.
    pub(super) templates: &'a Contents,
}

/// The files of one directory of the container.
#[derive(Debug, Default)]
struct Mount {
    /// Keys of the ConfigMap by their file names.
    public: BTreeMap<String, String>,
    /// Names of files whose contents only a Secret may have.
    secret: BTreeSet<String>,
}

/// Where wsman listens.
struct Ports {
    rpc: u16,
    health: u16,
}

/// A Secret that is not among the manifests, and the files that it must have.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needed {
    pub(super) secret: String,
    pub(super) files: Vec<String>,
}

impl Deployment<'_> {
    /// Returns the objects in the order of their creation, and the Secrets that they need.
    ///
    /// # Errors
    /// Everything in the configuration that does not work in a pod.
    pub(super) fn objects(&self) -> Result<(Vec<Value>, Vec<Needed>), Vec<String>> {
        let mut faults = Vec::new();
        self.check(&mut faults);
        let ports = Ports {
            rpc: port("rpcServer.addr", &self.settings.rpc.addr, &mut faults),
            health: match &self.settings.health_addr {
                Some(addr) => port("health.addr", addr, &mut faults),
                None => {
                    faults
                        .push("health.addr: is missing; the probes of the pod need it".to_owned());
                    0
                }
            },
        };
        let mounts = self.mounts(&mut faults);
        if !faults.is_empty() {
            return Err(faults);
        }
        let mut objects = vec![
            self.object("v1", "ServiceAccount", json!({})),
            self.role(),
            self.role_binding(),
            cluster_role(&self.cluster_name()),
            self.cluster_role_binding(),
            self.config_map(),
            self.service(&ports),
        ];
        objects.push(self.deployment(&ports, &mounts));
        let needed = mounts.iter().filter(|(_, mount)| !mount.secret.is_empty());
        let needed = needed.map(|(directory, mount)| Needed {
            secret: secret_name(directory),
            files: mount.secret.iter().cloned().collect(),
        });
        Ok((objects, needed.collect()))
    }

    fn check(&self, faults: &mut Vec<String>) {
        if self.settings.kubernetes != Kubernetes::InCluster {
            faults.push("kubernetes.mode: must be \"in-cluster\" in a pod".to_owned());
        }
        let trace = self.settings.manager.event_trace_log.as_str();
        if !matches!(trace, "" | "-") {
            faults.push(format!(
                "manager.eventTraceLog: is {}; must be \"-\" in a pod, whose file system is read-only",
                show(trace)
            ));
        }
        let value: Value = serde_json::from_str(self.text).unwrap_or_default();
        let secret = value.pointer("/content/storage/minio/secretKey");
        if secret.is_some_and(|secret| secret != "") {
            faults.push(
                "content.storage.minio.secretKey: would be in a ConfigMap; give secretKeyFile"
                    .to_owned(),
            );
        }
    }

    /// Returns the files of the container by their directories.
    fn mounts(&self, faults: &mut Vec<String>) -> BTreeMap<String, Mount> {
        let mut mounts = BTreeMap::<String, Mount>::new();
        let config = mounts.entry(DIRECTORY.to_owned()).or_default();
        config.public.insert(CONFIG.to_owned(), CONFIG.to_owned());
        let used = self
            .named
            .iter()
            .filter(|file| file.role != Role::Kubeconfig);
        for file in used {
            let split = file.path.rsplit_once('/');
            let Some((directory, name)) = split.filter(|(dir, _)| dir.starts_with('/')) else {
                faults.push(format!(
                    "{}: is {}; must be an absolute path in a directory of its own in a pod",
                    file.key,
                    show(&file.path)
                ));
                continue;
            };
            let mount = mounts.entry(directory.to_owned()).or_default();
            match file.role {
                Role::Template => {
                    let key = config_key(&file.path);
                    mount.public.insert(name.to_owned(), key);
                }
                _ => _ = mount.secret.insert(name.to_owned()),
            }
        }
        let directories: Vec<&String> = mounts.keys().collect();
        for outer in &directories {
            let below = |inner: &&&String| inner.starts_with(&format!("{outer}/"));
            if let Some(inner) = directories.iter().find(below) {
                faults.push(format!(
                    "{outer} and {inner} have files: one directory of a pod cannot be mounted in another"
                ));
            }
        }
        mounts
    }

    fn namespace(&self) -> &str {
        &self.settings.manager.namespace
    }

    /// Objects of the cluster are shared by all namespaces.
    fn cluster_name(&self) -> String {
        format!("{NAME}-{}", self.namespace())
    }

    fn object(&self, version: &str, kind: &str, rest: Value) -> Value {
        let mut object = json!({
            "apiVersion": version,
            "kind": kind,
            "metadata": { "name": NAME, "namespace": self.namespace(), "labels": labels() },
        });
        if let (Value::Object(object), Value::Object(rest)) = (&mut object, rest) {
            object.extend(rest);
        }
        object
    }

    fn role(&self) -> Value {
        let more = daemon::more_rights(self.settings);
        let rules = rules(more, |right| !right.cluster);
        self.object(RBAC, "Role", json!({ "rules": rules }))
    }

    fn role_binding(&self) -> Value {
        let binding = json!({ "roleRef": role_ref("Role", NAME), "subjects": [self.subject()] });
        self.object(RBAC, "RoleBinding", binding)
    }

    fn cluster_role_binding(&self) -> Value {
        let name = self.cluster_name();
        json!({
            "apiVersion": RBAC,
            "kind": "ClusterRoleBinding",
            "metadata": { "name": name, "labels": labels() },
            "roleRef": role_ref("ClusterRole", &name),
            "subjects": [self.subject()],
        })
    }

    fn subject(&self) -> Value {
        json!({ "kind": "ServiceAccount", "name": NAME, "namespace": self.namespace() })
    }

    fn config_map(&self) -> Value {
        let mut data = BTreeMap::from([(CONFIG.to_owned(), self.text)]);
        let templates = self.named.iter().filter(|file| file.role == Role::Template);
        for file in templates {
            if let Some(Ok(text)) = self.templates.get(&file.path) {
                data.insert(config_key(&file.path), text);
            }
        }
        self.object("v1", "ConfigMap", json!({ "data": data }))
    }

    fn service(&self, ports: &Ports) -> Value {
        let mut port = json!({ "name": "rpc", "port": ports.rpc, "targetPort": "rpc" });
        if self.settings.rpc.tls.is_none() {
            port["appProtocol"] = "kubernetes.io/h2c".into();
        }
        let spec = json!({ "selector": labels(), "ports": [port] });
        self.object("v1", "Service", json!({ "spec": spec }))
    }

    fn deployment(&self, ports: &Ports, mounts: &BTreeMap<String, Mount>) -> Value {
        let probe = |path: &str| json!({ "httpGet": { "path": path, "port": "health" } });
        let (mut volumes, mut mounted) = volumes(mounts);
        let store = self.settings.manager.guest.as_ref();
        let store = store.and_then(|guest| guest.store.as_ref());
        if let Some(StoreSettings::Local { path }) = store.map(|store| &store.settings) {
            let directory = json!({ "path": path, "type": "DirectoryOrCreate" });
            volumes.push(json!({ "name": "content", "hostPath": directory }));
            mounted.push(json!({ "name": "content", "mountPath": path, "readOnly": true }));
        }
        let container = json!({
            "name": NAME,
            "image": self.image,
            "args": ["run", "--config", format!("{DIRECTORY}/{CONFIG}")],
            "ports": [
                { "name": "rpc", "containerPort": ports.rpc },
                { "name": "health", "containerPort": ports.health },
            ],
            "livenessProbe": probe("/livez"),
            "readinessProbe": probe("/readyz"),
            "resources": { "requests": { "cpu": "100m", "memory": "64Mi" } },
            "securityContext": {
                "allowPrivilegeEscalation": false,
                "capabilities": { "drop": ["ALL"] },
                "readOnlyRootFilesystem": true,
            },
            "volumeMounts": mounted,
        });
        let pod = json!({
            "serviceAccountName": NAME,
            // It drains within 25 s.
            "terminationGracePeriodSeconds": 30,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "containers": [container],
            "volumes": volumes,
        });
        let spec = json!({
            "replicas": self.replicas,
            "selector": { "matchLabels": labels() },
            "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } },
            "template": { "metadata": { "labels": labels() }, "spec": pod },
        });
        self.object("apps/v1", "Deployment", json!({ "spec": spec }))
    }
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn labels() -> Value {
    json!({ "app.kubernetes.io/name": NAME })
}

fn role_ref(kind: &str, name: &str) -> Value {
    json!({ "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name })
}

fn cluster_role(name: &str) -> Value {
    json!({
        "apiVersion": RBAC,
        "kind": "ClusterRole",
        "metadata": { "name": name, "labels": labels() },
        "rules": rules(&[], |right| right.cluster),
    })
}

fn rules(more: &[Right], of: impl Fn(&Right) -> bool) -> Vec<Value> {
    let rights = RIGHTS.iter().chain(more).filter(|right| of(right));
    let rule = |right: &Right| {
        json!({
            "apiGroups": [right.group],
            "resources": [right.resource],
            "verbs": right.verbs,
        })
    };
    rights.map(rule).collect()
}

/// Returns the volumes and where they are mounted. One directory may have files of the ConfigMap and of a Secret.
fn volumes(mounts: &BTreeMap<String, Mount>) -> (Vec<Value>, Vec<Value>) {
    let one = |(at, (directory, mount)): (usize, (&String, &Mount))| {
        let mut sources = Vec::new();
        if !mount.public.is_empty() {
            let item = |(path, key): (&String, &String)| json!({ "key": key, "path": path });
            let items: Vec<Value> = mount.public.iter().map(item).collect();
            sources.push(json!({ "configMap": { "name": NAME, "items": items } }));
        }
        if !mount.secret.is_empty() {
            let item = |name: &String| json!({ "key": name, "path": name });
            let items: Vec<Value> = mount.secret.iter().map(item).collect();
            let name = secret_name(directory);
            sources.push(json!({ "secret": { "name": name, "items": items } }));
        }
        let name = format!("files-{at}");
        (
            json!({ "name": name, "projected": { "sources": sources } }),
            json!({ "name": name, "mountPath": directory, "readOnly": true }),
        )
    };
    mounts.iter().enumerate().map(one).unzip()
}

/// Returns the port of an address that others reach in a pod.
fn port(key: &str, addr: &str, faults: &mut Vec<String>) -> u16 {
    let (host, port) = addr.rsplit_once(':').unwrap_or(("", addr));
    let ip = host.trim_matches(['[', ']']).parse::<IpAddr>();
    let is_loopback = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
    let port = port.parse().unwrap_or(0);
    if is_loopback || port == 0 {
        faults.push(format!(
            "{key}: is {addr:?}, which nobody reaches in a pod; give a port of all addresses, such as \":8080\""
        ));
    }
    port
}

/// The key of a file in the ConfigMap.
fn config_key(path: &str) -> String {
    named(path.trim_start_matches('/'), '_')
}

/// The Secret with the files of a directory.
fn secret_name(directory: &str) -> String {
    let name = named(directory.trim_matches('/'), '-').to_ascii_lowercase();
    format!("{NAME}-{}", name.replace(['_', '.'], "-").trim_matches('-'))
}

/// A path as a name, with this between its parts.
fn named(path: &str, between: char) -> String {
    let legal = |c: char| match c {
        '/' => between,
        c if c.is_ascii_alphanumeric() || "-_.".contains(c) => c,
        _ => '-',
    };
    path.chars().map(legal).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;
    use crate::golden::{self, Case};

    /// A case has changes to example-config.json and the files in it.
    fn answer(mut case: Case) -> (String, Value) {
        let text = golden::example(&case.take("patch")).to_string();
        let files = case.take("files");
        let (settings, _) = golden::resolve(&text, &files).unwrap();
        let parsed = config::parse(&text).unwrap();
        let deployment = Deployment {
            image: "registry.example.com/wsman:1",
            replicas: 2,
            text: &text,
            settings: &settings,
            named: parsed.files(),
            templates: &golden::contents(&files),
        };
        match deployment.objects() {
            Ok((mut objects, needed)) => {
                for object in &mut objects {
                    if let Some(config) = object.pointer_mut("/data/config.json") {
                        assert_eq!(config.as_str(), Some(text.as_str()));
                        *config = "as it was read".into();
                    }
                }
                let needed = needed
                    .iter()
                    .map(|needed| json!([needed.secret, needed.files]));
                let needed: Vec<Value> = needed.collect();
                let printed = json!({ "objects": objects, "needed": needed });
                ("PRINTED".to_owned(), printed)
            }
            Err(faults) => ("REFUSED".to_owned(), json!(faults)),
        }
    }

    #[test]
    fn manifests() {
        golden::check("manifests", answer);
    }

    #[test]
    fn they_have_every_right_and_no_other() {
        let count = rules(&[], |_| true).len();
        assert_eq!(count, RIGHTS.len());
        let text = json!(rules(&[], |_| true)).to_string();
        assert!(!text.contains('*'), "{text}");
    }
}
