//! The defaults of the API server.

use std::net::Ipv4Addr;

use serde_json::{Map, Value, json};

use super::claims;
use super::clock;
use super::resources::{CLAIMS, Index, NAMESPACES, NODES, PODS, RESOURCES, SECRETS, SERVICES};
use super::store::State;
use super::validate::text;

/// Sets the defaults of a new or changed object.
pub(crate) fn apply(index: Index, object: &mut Value) {
    match index {
        PODS => pod(object),
        SERVICES => service(&mut object["spec"]),
        SECRETS => secret(object),
        CLAIMS => default(&mut object["spec"], "volumeMode", json!("Filesystem")),
        NAMESPACES => {
            let name = object["metadata"]["name"].clone();
            object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            default(&mut object["spec"], "finalizers", json!(["kubernetes"]));
            default(&mut object["status"], "phase", json!("Active"));
        }
        _ => {}
    }
}

/// Completes a status that was written through the subresource.
pub(crate) fn status(index: Index, object: &mut Value, old: &Value) {
    if index != PODS || !object["status"].is_object() {
        return;
    }
    if let Some(class) = old["status"].get("qosClass") {
        default(&mut object["status"], "qosClass", class.clone());
    }
    for condition in items(&mut object["status"], "conditions") {
        // These two are written also when they are empty.
        default(condition, "lastProbeTime", Value::Null);
        default(condition, "lastTransitionTime", Value::Null);
    }
}

/// The fresh status of an object's first version.
pub(crate) fn created(index: Index, object: &mut Value) {
    match index {
        PODS => {
            object["metadata"]["generation"] = 1.into();
            object["status"] = json!({"phase": "Pending", "qosClass": qos_class(&object["spec"])});
            let gates = object["spec"]["schedulingGates"].as_array();
            if gates.is_some_and(|gates| !gates.is_empty()) {
                object["status"]["conditions"] = json!([{
                    "type": "PodScheduled", "status": "False", "reason": "SchedulingGated",
                    "message": "Scheduling is blocked due to non-empty scheduling gates",
                    "lastProbeTime": null, "lastTransitionTime": clock::text(clock::now()),
                }]);
            }
            tolerate(&mut object["spec"], "node.kubernetes.io/not-ready");
            tolerate(&mut object["spec"], "node.kubernetes.io/unreachable");
            default(&mut object["spec"], "priority", json!(0));
            default(
                &mut object["spec"],
                "preemptionPolicy",
                json!("PreemptLowerPriority"),
            );
        }
        CLAIMS => claims::created(object),
        SERVICES => object["status"] = json!({"loadBalancer": {}}),
        NAMESPACES => {
            object["status"] = json!({"phase": "Active"});
            object["spec"] = json!({"finalizers": ["kubernetes"]});
        }
        NODES => {
            default(object, "spec", json!({}));
            default(object, "status", json!({}));
        }
        _ if RESOURCES[index].is_custom() => {
            object["metadata"]["generation"] = 1.into();
            // A status comes only through the subresource.
            if let Some(fields) = object
                .as_object_mut()
                .filter(|_| RESOURCES[index].has_status)
            {
                fields.remove("status");
            }
        }
        _ => {}
    }
}

/// Allocates the address of a new service; the store's lock is held, so no two get the same.
pub(crate) fn allocate_address(state: &State, service: &mut Value) {
    let spec = &mut service["spec"];
    if text(spec, "type") == "ExternalName" {
        return;
    }
    let asked = text(spec, "clusterIP").to_owned();
    let address = if asked.is_empty() {
        free_address(state, service)
    } else {
        asked
    };
    let spec = &mut service["spec"];
    spec["clusterIPs"] = json!([address]);
    spec["clusterIP"] = address.into();
    default(spec, "ipFamilies", json!(["IPv4"]));
    default(spec, "ipFamilyPolicy", json!("SingleStack"));
}

/// The next free address of 10.96.0.0/16 after one that the service's uid determines.
fn free_address(state: &State, service: &Value) -> String {
    let taken: std::collections::BTreeSet<&str> = state
        .range(SERVICES, "", "")
        .map(|(_, other)| text(&other.value["spec"], "clusterIP"))
        .collect();
    let start = super::store::uid(service)
        .bytes()
        .fold(7_u32, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
    let first = u32::from(Ipv4Addr::new(10, 96, 0, 0));
    let size = 1 << 16;
    let candidates =
        (0..size).map(|step| Ipv4Addr::from(first + 1 + (start + step) % (size - 2)).to_string());
    let mut free = candidates.filter(|address| !taken.contains(address.as_str()));
    free.next().unwrap_or_default()
}

/// Drops what the original's encoding omits: false, empty text and empty lists in fields that have no other way to be
/// absent.
fn omit_empty(value: &mut Value) {
    const FLAGS: &[&str] = &[
        "hostNetwork",
        "hostPID",
        "hostIPC",
        "stdin",
        "stdinOnce",
        "tty",
        "readOnly",
    ];
    match value {
        Value::Array(items) => items.iter_mut().for_each(omit_empty),
        Value::Object(fields) => {
            fields.retain(|name, value| match value {
                Value::Bool(set) => *set || !FLAGS.contains(&name.as_str()),
                Value::String(text) => {
                    !text.is_empty() || !matches!(name.as_str(), "value" | "nodeName")
                }
                Value::Array(items) => !items.is_empty() || name == "containers",
                _ => true,
            });
            fields.values_mut().for_each(omit_empty);
        }
        _ => {}
    }
}

fn pod(pod: &mut Value) {
    let spec = &mut pod["spec"];
    omit_empty(spec);
    let accounts =
        ["serviceAccountName", "serviceAccount"].map(|field| text(spec, field).to_owned());
    if let Some(name) = accounts.into_iter().find(|name| !name.is_empty()) {
        let name = Value::from(name);
        spec["serviceAccountName"] = name.clone();
        spec["serviceAccount"] = name;
    }
    for (field, value) in [
        ("restartPolicy", json!("Always")),
        ("dnsPolicy", json!("ClusterFirst")),
        ("schedulerName", json!("default-scheduler")),
        ("terminationGracePeriodSeconds", json!(30)),
        ("enableServiceLinks", json!(true)),
        ("securityContext", json!({})),
    ] {
        default(spec, field, value);
    }
    let host_network = spec["hostNetwork"] == true;
    for list in ["initContainers", "containers"] {
        items(spec, list).for_each(|item| container(item, host_network));
    }
    items(spec, "volumes").for_each(volume);
}

fn container(container: &mut Value, host_network: bool) {
    let image = text(container, "image");
    let last = image.rsplit('/').next().unwrap_or(image);
    let floating = !image.contains('@') && (!last.contains(':') || last.ends_with(":latest"));
    let policy = if floating { "Always" } else { "IfNotPresent" };
    default(container, "imagePullPolicy", policy.into());
    default(
        container,
        "terminationMessagePath",
        json!("/dev/termination-log"),
    );
    default(container, "terminationMessagePolicy", json!("File"));
    default(container, "resources", json!({}));
    for port in items(container, "ports") {
        default(port, "protocol", json!("TCP"));
        if host_network {
            let number = port["containerPort"].clone();
            default(port, "hostPort", number);
        }
    }
    for variable in items(container, "env") {
        if let Some(field) = variable.pointer_mut("/valueFrom/fieldRef") {
            default(field, "apiVersion", json!("v1"));
        }
    }
    if let Some(limits) = container["resources"]["limits"].as_object().cloned() {
        let requests = &mut container["resources"]["requests"];
        limits
            .into_iter()
            .for_each(|(name, limit)| default(requests, &name, limit));
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe).filter(|probe| probe.is_object()) {
            for (field, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                default(probe, field, value.into());
            }
            if let Some(get) = probe.get_mut("httpGet") {
                default(get, "path", json!("/"));
                default(get, "scheme", json!("HTTP"));
            }
        }
    }
    if container["resources"]["requests"].is_null()
        && let Some(resources) = container["resources"].as_object_mut()
    {
        resources.remove("requests");
    }
    if container["resources"]["limits"].is_null()
        && let Some(resources) = container["resources"].as_object_mut()
    {
        resources.remove("limits");
    }
}

fn volume(volume: &mut Value) {
    for (source, field, value) in [
        ("secret", "defaultMode", json!(420)),
        ("configMap", "defaultMode", json!(420)),
        ("downwardAPI", "defaultMode", json!(420)),
        ("projected", "defaultMode", json!(420)),
        ("hostPath", "type", json!("")),
    ] {
        if let Some(source) = volume.get_mut(source).filter(|source| source.is_object()) {
            default(source, field, value);
        }
    }
    if let Some(Value::Array(sources)) = volume.pointer_mut("/projected/sources") {
        for token in sources
            .iter_mut()
            .filter_map(|source| source.get_mut("serviceAccountToken"))
        {
            default(token, "expirationSeconds", json!(3600));
        }
    }
    // A volume without a source is an emptyDir.
    if volume
        .as_object()
        .is_some_and(|fields| fields.len() == 1 && fields.contains_key("name"))
    {
        volume["emptyDir"] = json!({});
    }
}

fn service(spec: &mut Value) {
    default(spec, "type", json!("ClusterIP"));
    default(spec, "sessionAffinity", json!("None"));
    if text(spec, "type") != "ExternalName" {
        default(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    for port in items(spec, "ports") {
        default(port, "protocol", json!("TCP"));
        let target = match &port["targetPort"] {
            Value::Null => true,
            Value::Number(number) => number.as_i64() == Some(0),
            Value::String(name) => name.is_empty(),
            _ => false,
        };
        if target {
            port["targetPort"] = port["port"].clone();
        }
    }
}

fn secret(secret: &mut Value) {
    default(secret, "type", json!("Opaque"));
    let Some(Value::Object(plain)) = secret
        .as_object_mut()
        .and_then(|fields| fields.remove("stringData"))
    else {
        return;
    };
    for (name, value) in plain {
        use base64::Engine as _;
        let encoded =
            base64::engine::general_purpose::STANDARD.encode(value.as_str().unwrap_or_default());
        secret["data"][name] = encoded.into();
    }
}

fn tolerate(spec: &mut Value, taint: &str) {
    let tolerations = spec["tolerations"].as_array_mut();
    let known = tolerations
        .iter()
        .flat_map(|all| all.iter())
        .any(|toleration| {
            let effect = text(toleration, "effect");
            let key = text(toleration, "key");
            (key == taint || (key.is_empty() && text(toleration, "operator") == "Exists"))
                && (effect.is_empty() || effect == "NoExecute")
        });
    if !known {
        let toleration = json!({"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
        match tolerations {
            Some(all) => all.push(toleration),
            None => spec["tolerations"] = json!([toleration]),
        }
    }
}

fn qos_class(spec: &Value) -> &'static str {
    let containers = || {
        ["containers", "initContainers"]
            .into_iter()
            .filter_map(|list| spec[list].as_array())
            .flatten()
    };
    let of = |container: &Value, kind: &str| {
        let named = container["resources"][kind]
            .as_object()
            .cloned()
            .unwrap_or_default();
        let counted = named
            .into_iter()
            .filter(|(name, amount)| matches!(name.as_str(), "cpu" | "memory") && *amount != "0");
        counted.collect::<Map<_, _>>()
    };
    if containers().all(|one| of(one, "limits").is_empty() && of(one, "requests").is_empty()) {
        return "BestEffort";
    }
    let guaranteed = containers().all(|one| {
        let limits = of(one, "limits");
        limits.len() == 2 && limits == of(one, "requests")
    });
    if guaranteed {
        "Guaranteed"
    } else {
        "Burstable"
    }
}

/// Sets the field if it is absent, null, or an empty string.
fn default(object: &mut Value, field: &str, value: Value) {
    if !object.is_object() && !object.is_null() {
        return;
    }
    let slot = &mut object[field];
    if slot.is_null() || slot.as_str() == Some("") {
        *slot = value;
    }
}

fn items<'a>(object: &'a mut Value, list: &str) -> impl Iterator<Item = &'a mut Value> {
    let items = object
        .get_mut(list)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten();
    items.filter(|item| item.is_object())
}
