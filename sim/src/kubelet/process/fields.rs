//! Fields of a pod and of its containers that variables and files refer to; pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Container, Pod};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

/// The address of every process.
pub(crate) const LOOPBACK: &str = "127.0.0.1";

/// A field of the pod; the error says that there is none.
pub(crate) fn of_pod(pod: &Pod, path: &str) -> Result<String, String> {
    let meta = &pod.metadata;
    let spec = pod.spec.as_ref();
    if let Some(key) = key(path, "metadata.labels") {
        return Ok(value(meta.labels.as_ref(), key));
    }
    if let Some(key) = key(path, "metadata.annotations") {
        return Ok(value(meta.annotations.as_ref(), key));
    }
    let host = pod
        .status
        .as_ref()
        .and_then(|status| status.host_ip.clone());
    let found = match path {
        "metadata.name" => meta.name.clone(),
        "metadata.namespace" => meta.namespace.clone(),
        "metadata.uid" => meta.uid.clone(),
        "metadata.labels" => Some(lines(meta.labels.as_ref())),
        "metadata.annotations" => Some(lines(meta.annotations.as_ref())),
        "spec.nodeName" => spec.and_then(|spec| spec.node_name.clone()),
        "spec.serviceAccountName" => spec.and_then(|spec| spec.service_account_name.clone()),
        "status.podIP" | "status.podIPs" => Some(LOOPBACK.to_owned()),
        "status.hostIP" | "status.hostIPs" => host.or(Some(LOOPBACK.to_owned())),
        _ => return Err(format!("unsupported fieldPath: {path}")),
    };
    Ok(found.unwrap_or_default())
}

/// A limit or a request of the container, divided and rounded up.
pub(crate) fn of_container(
    container: &Container,
    resource: &str,
    divisor: Option<&Quantity>,
) -> Result<String, String> {
    let unsupported = || format!("unsupported container resource: {resource}");
    let (list, name) = resource.split_once('.').ok_or_else(unsupported)?;
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|all| all.limits.as_ref()?.get(name));
    let requests = resources.and_then(|all| all.requests.as_ref()?.get(name));
    let quantity = match list {
        "limits" => limits,
        "requests" => requests.or(limits),
        _ => return Err(unsupported()),
    };
    let thousandths = |quantity: &Quantity| {
        let invalid = || format!("{resource}: {:?} is no quantity", quantity.0);
        thousandths(&quantity.0).ok_or_else(invalid)
    };
    let value = quantity.map_or(Ok(0), thousandths)?;
    let divisor = match divisor.map(thousandths).transpose()? {
        None | Some(0) => 1000,
        Some(divisor) => divisor,
    };
    Ok((value + divisor - 1).div_euclid(divisor).to_string())
}

/// A thousandfold of a quantity, rounded up.
fn thousandths(text: &str) -> Option<i128> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, suffix) = text.split_at(end.unwrap_or(text.len()));
    let (numerator, denominator) = match suffix {
        "m" => (1, 1),
        "" => (1000, 1),
        "u" => (1, 1000),
        "n" => (1, 1_000_000),
        "k" => (1_000_000, 1),
        "M" => (10_i128.pow(9), 1),
        "G" => (10_i128.pow(12), 1),
        "T" => (10_i128.pow(15), 1),
        "P" => (10_i128.pow(18), 1),
        "Ki" => (1000 << 10, 1),
        "Mi" => (1000 << 20, 1),
        "Gi" => (1000 << 30, 1),
        "Ti" => (1000 << 40, 1),
        "Pi" => (1000 << 50, 1),
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.len() + fraction.len() > 15 {
        return None;
    }
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?) * denominator;
    Some((digits * numerator + scale - 1) / scale)
}

/// The key of `metadata.labels['key']`.
fn key<'a>(path: &'a str, list: &str) -> Option<&'a str> {
    let key = path.strip_prefix(list)?.strip_prefix("['")?;
    key.strip_suffix("']")
}

fn value(all: Option<&BTreeMap<String, String>>, key: &str) -> String {
    all.and_then(|all| all.get(key))
        .cloned()
        .unwrap_or_default()
}

/// All labels or annotations, as in a file.
fn lines(all: Option<&BTreeMap<String, String>>) -> String {
    let mut text = String::new();
    for (key, value) in all.into_iter().flatten() {
        // A String takes whatever is written to it.
        let _ = writeln!(text, "{key}={value:?}");
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let container = json!({ "name": "c", "resources": {
            "limits": { "cpu": "1500m", "memory": "64Mi" }, "requests": { "memory": "1.5k" },
        } });
        let container = serde_json::from_value(container).unwrap();
        for (resource, divisor, expected) in [
            ("limits.cpu", None, "2"),
            ("limits.cpu", Some("1m"), "1500"),
            ("limits.memory", Some("1Mi"), "64"),
            ("limits.memory", None, "67108864"),
            ("requests.memory", None, "1500"),
            ("requests.cpu", Some("0"), "2"),
            ("limits.ephemeral-storage", None, "0"),
        ] {
            let divisor = divisor.map(|text: &str| Quantity(text.to_owned()));
            let found = of_container(&container, resource, divisor.as_ref());
            assert_eq!(found.as_deref(), Ok(expected), "{resource} {divisor:?}");
        }
        assert!(of_container(&container, "cpu", None).is_err());
    }

    #[test]
    fn fields_of_a_pod_are_read_by_path() {
        let pod = json!({
            "metadata": { "name": "p", "annotations": { "a/b": "1\n2", "c": "3" } },
            "spec": { "containers": [] },
        });
        let pod = serde_json::from_value(pod).unwrap();
        for (path, expected) in [
            ("metadata.name", "p"),
            ("metadata.annotations['a/b']", "1\n2"),
            ("metadata.annotations", "a/b=\"1\\n2\"\nc=\"3\""),
            ("metadata.labels['none']", ""),
            ("status.podIP", "127.0.0.1"),
        ] {
            assert_eq!(of_pod(&pod, path).as_deref(), Ok(expected), "{path}");
        }
        assert!(of_pod(&pod, "spec.hostname").is_err());
    }
}
