//! Small rules of single kinds: the spec of a Lease, and the data of Secrets and ConfigMaps.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::status::Cause;
use super::validate::text;

const SECRET_LIMIT: usize = 1 << 20;

/// Checks the spec of a Lease.
pub(crate) fn lease(spec: &Value, causes: &mut Vec<Cause>) {
    if let Some(seconds) = spec["leaseDurationSeconds"].as_i64().filter(|n| *n <= 0) {
        let detail = "must be greater than 0";
        causes.push(Cause::invalid("spec.leaseDurationSeconds", seconds, detail));
    }
    if let Some(count) = spec["leaseTransitions"].as_i64().filter(|n| *n < 0) {
        let detail = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.leaseTransitions", count, detail));
    }
}

/// Checks that a Secret has the keys of its type.
pub(crate) fn secret(secret: &Value, causes: &mut Vec<Cause>) {
    if text(secret, "type") == "kubernetes.io/service-account-token" {
        let name = "kubernetes.io/service-account.name";
        if text(&secret["metadata"]["annotations"], name).is_empty() {
            causes.push(Cause::required(format!("metadata.annotations[{name}]"), ""));
        }
        return;
    }
    let has = |key: &str| secret["data"].get(key).is_some();
    let keys: &[&str] = match text(secret, "type") {
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/basic-auth" if !has("username") && !has("password") => {
            &["username", "password"]
        }
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        _ => return,
    };
    for key in keys {
        let field = format!("data[{key}]");
        let value = secret["data"][*key].as_str();
        if !has(key) {
            causes.push(Cause::required(field, ""));
        } else if key.starts_with(".docker") && !value.is_some_and(is_json) {
            let (shown, detail) = ("<secret contents redacted>", "");
            causes.push(Cause::invalid(field, shown, detail));
        }
    }
}

fn is_json(base64: &str) -> bool {
    let bytes = STANDARD.decode(base64).unwrap_or_default();
    serde_json::from_slice::<Value>(&bytes).is_ok()
}

/// Checks the keys and the size of the data.
pub(crate) fn data(object: &Value, fields: &[&str], causes: &mut Vec<Cause>) {
    let mut total = 0;
    for field in fields {
        for (key, value) in object[*field].as_object().into_iter().flatten() {
            let ok = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if key.is_empty() || key.len() > 253 || !key.chars().all(ok) {
                let detail = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. \
                              'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
                causes.push(Cause::invalid(
                    format!("{field}[{key}]"),
                    key.as_str(),
                    detail,
                ));
            }
            let length = value.as_str().map_or(0, str::len);
            // Secrets and binary data are base64: three bytes in four.
            total += if *field == "data" && fields.len() > 1 {
                length
            } else {
                length / 4 * 3
            };
        }
    }
    if total > SECRET_LIMIT {
        // A configmap has two such fields, and the original names neither.
        let field = if fields.len() > 1 { "[]" } else { "data" };
        causes.push(Cause::too_long(field, SECRET_LIMIT));
    }
}
