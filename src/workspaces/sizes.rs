//! Limits on the size of a start's objects, checked before Kubernetes does (docs/protocol.md#limits-of-a-request,
//! F-W16).

use k8s_openapi::api::core::v1::Pod;
use prost::Message;

use super::start_request::StartRequest;
use crate::action::Dependant;
use crate::error::{Error, FieldViolation};

/// Most bytes of the annotations that may be long; beyond that they go into the Secret.
pub(super) const MAX_LONG_ANNOTATIONS: usize = 48 << 10;
/// Most bytes of the annotation with the exposed ports.
pub(super) const MAX_PORTS_ANNOTATION: usize = 48 << 10;
/// Most bytes of all annotations of a pod. Kubernetes accepts 256 KiB; the rest is for later changes.
pub(super) const MAX_ANNOTATIONS: usize = 64 << 10;
/// Most bytes of a pod's JSON; etcd accepts 1.5 MiB.
const MAX_POD: usize = 1 << 20;
/// Most bytes of a Secret's values, as Kubernetes counts them.
const MAX_SECRET: usize = 1 << 20;

/// Rejects objects that are too large.
pub(super) fn check(
    request: &StartRequest,
    pod: &Pod,
    dependants: &[Dependant],
) -> Result<(), Error> {
    let annotations = pod.metadata.annotations.iter().flatten();
    let annotations = annotations
        .map(|(key, value)| key.len() + value.len())
        .sum();
    let secret = dependants
        .iter()
        .filter_map(|dependant| match dependant {
            Dependant::Secret(secret) => secret.string_data.as_ref(),
            Dependant::Pvc(_) | Dependant::Service(_) => None,
        })
        .flat_map(|data| data.values())
        .map(String::len)
        .sum();
    let json = serde_json::to_vec(pod).map_err(|e| Error::Internal { why: e.to_string() })?;
    let limits = [
        ("annotations of the pod", annotations, MAX_ANNOTATIONS),
        ("pod", json.len(), MAX_POD),
        ("secret", secret, MAX_SECRET),
    ];
    match limits.into_iter().find(|(_, size, max)| size > max) {
        None => Ok(()),
        Some((what, size, max)) => Err(too_big(request, what, size, max)),
    }
}

/// Lists the largest fields of the request.
fn too_big(request: &StartRequest, what: &str, size: usize, max: usize) -> Error {
    let spec = &request.spec;
    let texts = |list: &[String]| list.iter().map(String::len).sum::<usize>();
    let vars = |list: &[crate::proto::wsman::EnvironmentVariable]| {
        list.iter().map(Message::encoded_len).sum::<usize>()
    };
    let annotations = request.metadata.annotations.iter();
    let mut fields = [
        (
            "metadata.annotations",
            annotations.map(|(k, v)| k.len() + v.len()).sum(),
        ),
        ("spec.envvars", vars(&spec.envvars)),
        ("spec.sys_envvars", vars(&spec.sys_envvars)),
        (
            "spec.initializer",
            spec.initializer.as_ref().map_or(0, Message::encoded_len),
        ),
        ("spec.ssh_public_keys", texts(&spec.ssh_public_keys)),
        ("spec.ide_image_layers", texts(&spec.ide_image_layers)),
        ("spec.workspace_location", spec.workspace_location.len()),
        (
            "spec.git",
            spec.git.as_ref().map_or(0, Message::encoded_len),
        ),
        (
            "spec.ports",
            spec.ports.iter().map(Message::encoded_len).sum(),
        ),
        (
            "spec.ide_image",
            spec.ide_image.as_ref().map_or(0, Message::encoded_len),
        ),
    ];
    fields.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    let big: Vec<_> = fields
        .into_iter()
        .enumerate()
        .filter(|(i, (_, bytes))| *i == 0 || *bytes * 8 > max)
        .map(|(_, (field, bytes))| FieldViolation::new(field, format!("is {bytes} bytes")))
        .collect();
    let named: Vec<String> = big
        .iter()
        .map(|v| format!("{} {}", v.field, v.why))
        .collect();
    Error::Invalid {
        message: format!(
            "invalid start workspace request: the {what} would be {size} bytes, more than {max}: {}",
            named.join(", ")
        ),
        violations: big,
    }
}
