//! The validation of the specs of pods, services and secrets, and of their updates.

use serde_json::{Value, json};

use super::claims;
use super::pod_update;
use super::resources::{CLAIMS, Index, PODS, RESOURCES, SECRETS, SERVICES};
use super::snapshots;
use super::status::{Cause, Status};
use super::store::State;
use super::typed;
use super::validate::{self, text};

/// Checks the spec of a new version of an object.
pub(crate) fn check(index: Index, object: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match index {
        PODS => pod(&object["spec"], &mut causes),
        SERVICES => service(&object["spec"], &mut causes),
        SECRETS => {
            typed::data(object, &["data"], &mut causes);
            typed::secret(object, &mut causes);
        }
        _ if RESOURCES[index].kind == "Lease" => typed::lease(&object["spec"], &mut causes),
        CLAIMS => claims::check(&object["spec"], &mut causes),
        _ if RESOURCES[index].kind == "ConfigMap" => {
            typed::data(object, &["data", "binaryData"], &mut causes)
        }
        _ if RESOURCES[index].is_custom() => {
            snapshots::check(RESOURCES[index].kind, object, &mut causes);
        }
        _ => {}
    }
    causes
}

/// Checks what only a new object may not be.
pub(crate) fn check_new(index: Index, object: &Value) -> Vec<Cause> {
    let spec = &object["spec"];
    let gated = index == PODS && !is_empty_list(&spec["schedulingGates"]);
    let detail = "cannot be set until all schedulingGates have been cleared";
    let cause = || Cause::forbidden("spec.nodeName", detail);
    let placed = gated && !text(spec, "nodeName").is_empty();
    placed.then(cause).into_iter().collect()
}

/// Checks the changes of an update.
pub(crate) fn check_update(index: Index, new: &Value, old: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    match index {
        CLAIMS => claims::check_update(new, old, &mut causes),
        _ if RESOURCES[index].is_custom() => snapshots::check_update(new, old, &mut causes),
        PODS => pod_update::check(&new["spec"], &old["spec"], &mut causes),
        SERVICES => {
            let (new, old) = (&new["spec"], &old["spec"]);
            if !text(old, "clusterIP").is_empty()
                && new["clusterIP"] != old["clusterIP"]
                && text(new, "type") != "ExternalName"
            {
                let shown = format!("[\"{}\"]", text(new, "clusterIP"));
                causes.push(Cause::invalid_kind(
                    "spec.clusterIPs[0]",
                    &shown,
                    "may not change once set",
                ));
            }
        }
        _ if old["immutable"] == true => {
            if new["immutable"] != true {
                causes.push(Cause::forbidden(
                    "immutable",
                    "field is immutable when `immutable` is set",
                ));
            }
            for field in ["data", "binaryData"] {
                if new[field] != old[field] {
                    causes.push(Cause::forbidden(
                        field,
                        "field is immutable when `immutable` is set",
                    ));
                }
            }
        }
        SECRETS if new["type"] != old["type"] => {
            causes.push(Cause::invalid(
                "type",
                new["type"].clone(),
                "field is immutable",
            ));
        }
        _ => {}
    }
    causes
}

/// An update without the allocated address keeps it.
pub(crate) fn keep_address(new: &mut Value, old: &Value) {
    if text(new, "type") == "ExternalName" {
        return;
    }
    for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
        let empty = new[field].is_null() || new[field] == "" || new[field] == json!([]);
        if empty && !old[field].is_null() {
            new[field] = old[field].clone();
        }
    }
    if let Some(fields) = new.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
}

/// Rejects an address that another service has, or that is invalid.
pub(crate) fn check_address(state: &State, service: &Value) -> Result<(), Status> {
    let asked = text(&service["spec"], "clusterIP");
    if matches!(asked, "" | "None") {
        return Ok(());
    }
    let taken = state
        .range(SERVICES, "", "")
        .any(|(_, other)| text(&other.value["spec"], "clusterIP") == asked);
    let shown = format!("[{asked:?}]");
    let cause = if asked.parse::<std::net::Ipv4Addr>().is_err() {
        let detail = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        Cause::invalid("spec.clusterIPs[0]", asked, detail)
    } else if taken {
        let detail = format!("failed to allocate IP {asked}: provided IP is already allocated");
        Cause::invalid_kind("spec.clusterIPs", &shown, &detail)
    } else {
        return Ok(());
    };
    validate::report(SERVICES, service, &[cause])
}

pub(crate) fn is_empty_list(value: &Value) -> bool {
    value.as_array().is_none_or(Vec::is_empty)
}

fn pod(spec: &Value, causes: &mut Vec<Cause>) {
    let volumes = names(spec, "volumes", "spec.volumes", causes);
    if is_empty_list(&spec["containers"]) {
        causes.push(Cause::required("spec.containers", ""));
    }
    let mut seen = Vec::new();
    for list in ["containers", "initContainers"] {
        for (at, item) in spec[list].as_array().into_iter().flatten().enumerate() {
            container(
                item,
                &format!("spec.{list}[{at}]"),
                &volumes,
                &mut seen,
                causes,
            );
        }
    }
    choice(
        spec,
        "spec",
        "restartPolicy",
        &["Always", "OnFailure", "Never"],
        causes,
    );
    choice(
        spec,
        "spec",
        "dnsPolicy",
        &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"],
        causes,
    );
    if let Some(seconds) = spec["terminationGracePeriodSeconds"]
        .as_i64()
        .filter(|seconds| *seconds < 0)
    {
        let detail = "must be greater than or equal to 0";
        causes.push(Cause::invalid(
            "spec.terminationGracePeriodSeconds",
            seconds,
            detail,
        ));
    }
    if let Some(seconds) = spec["activeDeadlineSeconds"].as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        causes.push(Cause::invalid(
            "spec.activeDeadlineSeconds",
            seconds,
            "must be between 1 and 2147483647, inclusive",
        ));
    }
    validate::labels(&spec["nodeSelector"], "spec.nodeSelector", causes);
    gates(spec, causes);
    for (field, name) in [
        ("spec.nodeName", "nodeName"),
        ("spec.serviceAccountName", "serviceAccountName"),
    ] {
        let name = text(spec, name);
        if !name.is_empty() {
            causes.extend(validate::subdomain(name).map(|why| Cause::invalid(field, name, &why)));
        }
    }
}

fn gates(spec: &Value, causes: &mut Vec<Cause>) {
    let gates = spec["schedulingGates"].as_array();
    let mut seen = Vec::new();
    for (at, gate) in gates.into_iter().flatten().enumerate() {
        let (field, name) = (format!("spec.schedulingGates[{at}]"), text(gate, "name"));
        let why = validate::qualified_name(name);
        causes.extend(why.iter().map(|why| Cause::invalid(&field, name, why)));
        if seen.contains(&name) {
            causes.push(Cause::duplicate(field, name));
        }
        seen.push(name);
    }
}

fn container(
    container: &Value,
    field: &str,
    volumes: &[String],
    seen: &mut Vec<String>,
    causes: &mut Vec<Cause>,
) {
    name(
        text(container, "name"),
        &format!("{field}.name"),
        seen,
        causes,
    );
    let image = text(container, "image");
    if image.is_empty() {
        causes.push(Cause::required(format!("{field}.image"), ""));
    } else if image.trim() != image {
        let detail = "must not have leading or trailing whitespace";
        causes.push(Cause::invalid(format!("{field}.image"), image, detail));
    }
    let mut port_names = Vec::new();
    for (at, port) in container["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let field = format!("{field}.ports[{at}]");
        let name = text(port, "name");
        if !name.is_empty() {
            let why = port_name(name);
            causes.extend(
                why.iter()
                    .map(|why| Cause::invalid(format!("{field}.name"), name, why)),
            );
            if why.is_empty() && port_names.contains(&name) {
                causes.push(Cause::duplicate(format!("{field}.name"), name));
            }
            port_names.push(name);
        }
        match port["containerPort"].as_i64().unwrap_or(0) {
            0 => causes.push(Cause::required(format!("{field}.containerPort"), "")),
            number => port_number(number, &format!("{field}.containerPort"), causes),
        }
        choice(port, &field, "protocol", &["SCTP", "TCP", "UDP"], causes);
    }
    for (at, variable) in container["env"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let name = text(variable, "name");
        let field = format!("{field}.env[{at}].name");
        if name.is_empty() {
            causes.push(Cause::required(field, ""));
        } else if name.contains('=') || !name.chars().all(|c| c.is_ascii_graphic() || c == ' ') {
            let detail = "a valid environment variable name must consist only of printable ASCII characters other than '='";
            causes.push(Cause::invalid(field, name, detail));
        }
    }
    for (at, mount) in container["volumeMounts"]
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        let field = format!("{field}.volumeMounts[{at}]");
        let name = text(mount, "name");
        if name.is_empty() {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if !volumes.iter().any(|volume| volume == name) {
            causes.push(Cause::not_found(format!("{field}.name"), name));
        }
        if text(mount, "mountPath").is_empty() {
            causes.push(Cause::required(format!("{field}.mountPath"), ""));
        }
    }
    choice(
        container,
        field,
        "imagePullPolicy",
        &["Always", "IfNotPresent", "Never"],
        causes,
    );
    for (resource, limit) in container["resources"]["limits"]
        .as_object()
        .into_iter()
        .flatten()
    {
        let amount = limit.as_str().unwrap_or_default();
        if amount.starts_with('-') {
            let field = format!("{field}.resources.limits[{resource}]");
            causes.push(Cause::invalid(
                field,
                amount,
                "must be greater than or equal to 0",
            ));
        }
    }
}

fn service(spec: &Value, causes: &mut Vec<Cause>) {
    let external = text(spec, "type") == "ExternalName";
    if spec["clusterIP"] == "None" && matches!(text(spec, "type"), "NodePort" | "LoadBalancer") {
        let detail = format!(
            "may not be set to 'None' for {} services",
            text(spec, "type")
        );
        causes.push(Cause::invalid("spec.clusterIPs[0]", "None", &detail));
    }
    if is_empty_list(&spec["ports"]) && !external && spec["clusterIP"] != "None" {
        causes.push(Cause::required("spec.ports", ""));
    }
    let ports = spec["ports"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let mut seen = Vec::new();
    for (at, port) in ports.iter().enumerate() {
        let field = format!("spec.ports[{at}]");
        let name = text(port, "name");
        if name.is_empty() && ports.len() > 1 {
            causes.push(Cause::required(format!("{field}.name"), ""));
        } else if !name.is_empty() {
            causes.extend(
                validate::label(name)
                    .map(|why| Cause::invalid(format!("{field}.name"), name, &why)),
            );
            if seen.contains(&name) {
                causes.push(Cause::duplicate(format!("{field}.name"), name));
            }
            seen.push(name);
        }
        port_number(
            port["port"].as_i64().unwrap_or(0),
            &format!("{field}.port"),
            causes,
        );
        choice(port, &field, "protocol", &["SCTP", "TCP", "UDP"], causes);
        if let Some(number) = port["targetPort"].as_i64() {
            port_number(number, &format!("{field}.targetPort"), causes);
        }
    }
    let numbers: Vec<_> = ports
        .iter()
        .map(|port| (&port["port"], &port["protocol"]))
        .collect();
    for (at, (number, protocol)) in numbers.iter().enumerate() {
        if numbers[..at].contains(&(*number, *protocol)) {
            let shown = json!({"port": number, "protocol": protocol});
            causes.push(Cause::duplicate(format!("spec.ports[{at}]"), shown));
        }
    }
    validate::labels(&spec["selector"], "spec.selector", causes);
    choice(
        spec,
        "spec",
        "type",
        &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"],
        causes,
    );
    choice(
        spec,
        "spec",
        "sessionAffinity",
        &["ClientIP", "None"],
        causes,
    );
}

fn names(spec: &Value, list: &str, field: &str, causes: &mut Vec<Cause>) -> Vec<String> {
    let mut seen = Vec::new();
    for (at, item) in spec[list].as_array().into_iter().flatten().enumerate() {
        name(
            text(item, "name"),
            &format!("{field}[{at}].name"),
            &mut seen,
            causes,
        );
    }
    seen
}

fn name(name: &str, field: &str, seen: &mut Vec<String>, causes: &mut Vec<Cause>) {
    if name.is_empty() {
        return causes.push(Cause::required(field, ""));
    }
    if let Some(why) = validate::label(name) {
        return causes.push(Cause::invalid(field, name, &why));
    }
    if seen.iter().any(|other| other == name) {
        causes.push(Cause::duplicate(field, name));
    }
    seen.push(name.into());
}

fn port_name(name: &str) -> Vec<&'static str> {
    let mut why = Vec::new();
    if name.len() > 15 {
        return vec!["must be no more than 15 characters"];
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        why.push("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    }
    if !name.contains(|c: char| c.is_ascii_lowercase()) {
        why.push("must contain at least one letter (a-z)");
    }
    if name.contains("--") {
        why.push("must not contain consecutive hyphens");
    }
    if name.starts_with('-') || name.ends_with('-') {
        why.push("must not begin or end with a hyphen");
    }
    why
}

fn port_number(number: i64, field: &str, causes: &mut Vec<Cause>) {
    if !(1..=65535).contains(&number) {
        causes.push(Cause::invalid(
            field,
            number,
            "must be between 1 and 65535, inclusive",
        ));
    }
}

pub(crate) fn choice(
    object: &Value,
    parent: &str,
    field: &str,
    known: &[&str],
    causes: &mut Vec<Cause>,
) {
    let chosen = text(object, field);
    if !chosen.is_empty() && !known.contains(&chosen) {
        causes.push(Cause::unsupported(
            format!("{parent}.{field}"),
            chosen,
            known,
        ));
    }
}
