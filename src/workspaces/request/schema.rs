//! Generates the JSON Schema of a start request in the files of `wsman render` and `wsman client start`: the types are
//! those of the proto files, the limits are those of the validation.

use serde_json::{Value, json};

use super::fields::{FORMER_FLAGS, MAX_TEXT, MAX_VARIABLE};
use crate::duration::GoDuration;
use crate::proto::schema::{has, of};
use crate::proto::{method, wsman::WorkspaceType};
use crate::workspaces::names::{self, IMAGE, MAX_IMAGE};
use crate::workspaces::port::{IDE_PORT, MAX_PORTS, PORT, SUPERVISOR_PORT};

/// Characters except control characters.
const PRINTABLE: &str = "[^\\x00-\\x1f\\x7f-\\x9f]";
/// Characters of a key in a Secret or of an annotation.
const KEY: &str = "[-A-Za-z0-9_.]";

/// Returns the schema of a start request (JSON Schema 2020-12).
pub fn schema() -> Value {
    let Some(message) = method::message("wsman.StartWorkspaceRequest") else {
        return json!({});
    };
    let mut schema = of(&message, limits);
    schema["title"] = "Start request of wsman".into();
    schema["description"] = "What `wsman render` and `wsman client start -f` read: a StartWorkspaceRequest in proto3 JSON, \
        with either spelling of names. It is whole but for the id, which `wsman client start` makes."
        .into();
    schema["examples"] = json!([example()]);
    schema
}

fn example() -> Value {
    json!({
        "servicePrefix": "example",
        "metadata": { "owner": "alice", "metaId": "example" },
        "spec": {
            "workspaceImage": "registry.example.com/dev:1",
            "workspaceLocation": "/workspace",
            "initializer": { "empty": {} },
            "ports": [{ "port": 8080 }],
            "timeout": "30m",
        },
    })
}

/// The limits of a message, an enum or a field besides its type. The configuration has more, which no schema knows.
fn limits(name: &str) -> Option<Value> {
    let (package, name) = name.split_once('.')?;
    Some(match (package, name) {
        ("wsman", "StartWorkspaceRequest") => json!({
            "required": ["metadata", "spec"],
            "allOf": request(),
        }),
        ("wsman", "StartWorkspaceRequest.id") => json!({
            "pattern": format!("^({})?$", names::DNS_LABEL),
            "maxLength": room(WorkspaceType::Regular),
            "examples": ["4f1c2d6e-example"],
        }),
        ("wsman", "StartWorkspaceRequest.service_prefix") => json!({
            "pattern": "^([A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?)?$",
            "examples": ["example"],
        }),
        ("wsman", "WorkspaceMetadata.annotations") => json!({
            "propertyNames": { "pattern": format!("^{KEY}{{0,51}}[A-Za-z0-9]$") },
        }),
        ("wsman", "WorkspaceMetadata.annotations[]") => json!({
            "pattern": "^[^\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f]*$",
        }),
        ("wsman", "StartWorkspaceSpec") => json!({
            "required": ["workspace_image", "workspace_location", "initializer"],
        }),
        ("wsman", "StartWorkspaceSpec.workspace_image") => {
            let mut image = image();
            image["examples"] = json!(["registry.example.com/dev:1"]);
            image
        }
        (
            "wsman",
            "StartWorkspaceSpec.deprecated_ide_image"
            | "StartWorkspaceSpec.ide_image_layers[]"
            | "IDEImage.web_ref"
            | "IDEImage.supervisor_ref"
            | "IDEImage.desktop_ref"
            | "IDEImage.desktop_plugin_ref",
        ) => image(),
        ("wsman", "StartWorkspaceSpec.workspace_location") => {
            let mut line = line();
            line["examples"] = json!(["/workspace"]);
            line
        }
        (
            "wsman",
            "WorkspaceMetadata.owner"
            | "WorkspaceMetadata.meta_id"
            | "WorkspaceMetadata.team"
            | "WorkspaceMetadata.project"
            | "StartWorkspaceSpec.class"
            | "GitSpec.username"
            | "GitSpec.email",
        )
        | (
            "contentservice",
            "GitInitializer.checkout_location" | "FromBackupInitializer.checkout_location",
        ) => line(),
        (
            "wsman",
            "StartWorkspaceSpec.timeout"
            | "StartWorkspaceSpec.closed_timeout"
            | "StartWorkspaceSpec.maximum_lifetime",
        ) => json!({
            "pattern": format!("^({})?$", GoDuration::pattern()),
            "examples": ["1h30m"],
        }),
        ("wsman", "StartWorkspaceSpec.ports") => json!({ "maxItems": MAX_PORTS }),
        ("wsman", "StartWorkspaceSpec.envvars[]") => json!({ "allOf": [secret()] }),
        // A type, then its data, which starts with a length of less than 16 MiB.
        ("wsman", "StartWorkspaceSpec.ssh_public_keys[]") => json!({
            "pattern": format!("^{PRINTABLE}*\\sAAAA{PRINTABLE}*$"),
        }),
        ("wsman", "WorkspaceFeatureFlag") => json!({ "enum": FORMER_FLAGS }),
        ("wsman", "PortSpec") => json!({ "required": ["port"] }),
        ("wsman", "PortSpec.port") => {
            let own = [IDE_PORT, SUPERVISOR_PORT];
            let texts = own.map(|port| format!("^\\+?0*{port}$"));
            json!({
                "minimum": 1,
                "maximum": u16::MAX,
                "pattern": format!("^\\+?{PORT}$"),
                "not": { "anyOf": [
                    { "enum": own },
                    { "type": "string", "pattern": texts.join("|") },
                ] },
                "examples": [8080],
            })
        }
        ("wsman", "PortSpec.target") => json!({
            "maximum": u16::MAX,
            "pattern": format!("^\\+?(0+|{PORT})$"),
        }),
        ("wsman", "EnvironmentVariable") => json!({ "allOf": [value()] }),
        ("wsman", "EnvironmentVariable.name") => json!({
            "pattern": "^([-._a-zA-Z][-._a-zA-Z0-9]*)?$",
            "not": { "pattern": "^\\.(\\.|$)" },
            "examples": ["GREETING"],
        }),
        ("contentservice", "GitInitializer") => json!({ "required": ["config"] }),
        _ => return None,
    })
}

/// Regular workspaces need a prefix; others have a longer prefix before their id.
fn request() -> Vec<Value> {
    let of_type = |kind: WorkspaceType| json!({ "properties": { "type": { "enum": [kind.as_str_name(), kind as i32] } } });
    let regular = json!({
        "if": of_type(WorkspaceType::Regular),
        "then": has(&["servicePrefix", "service_prefix"], &json!({ "minLength": 1 })),
    });
    let others = [WorkspaceType::Prebuild, WorkspaceType::Imagebuild].map(|kind| {
        let mut given = of_type(kind);
        given["required"] = json!(["type"]);
        json!({ "if": given, "then": { "properties": { "id": { "maxLength": room(kind) } } } })
    });
    std::iter::once(regular).chain(others).collect()
}

/// Longest id.
fn room(kind: WorkspaceType) -> usize {
    63 - names::pod(kind, "").len()
}

/// The value of a named variable.
fn value() -> Value {
    // A name has at least one byte, and each has a terminating one.
    let value = json!({ "pattern": "^[^\\x00]*$", "maxLength": MAX_VARIABLE - 3 });
    json!({ "if": named(), "then": { "properties": { "value": value } } })
}

/// The secret of a named variable without a value.
fn secret() -> Value {
    let label = names::DNS_LABEL;
    let name = json!({ "pattern": format!("^{label}(\\.{label})*$"), "maxLength": 253 });
    let key = json!({
        "pattern": format!("^{KEY}{{1,253}}$"),
        "not": { "pattern": "^\\.(\\.|$)" },
    });
    let secret = json!({
        "if": { "type": "object" },
        "then": { "allOf": [has(&["secretName", "secret_name"], &name), has(&["key"], &key)] },
    });
    let mut without_value = named();
    without_value["properties"]["value"] = json!({ "maxLength": 0 });
    json!({ "if": without_value, "then": { "properties": { "secret": secret } } })
}

/// A named variable.
fn named() -> Value {
    json!({ "required": ["name"], "properties": { "name": { "type": "string", "minLength": 1 } } })
}

/// An image reference.
fn image() -> Value {
    json!({ "pattern": format!("^({IMAGE})$"), "maxLength": MAX_IMAGE })
}

/// A text of one line.
fn line() -> Value {
    json!({ "pattern": format!("^{PRINTABLE}*$"), "maxLength": MAX_TEXT })
}

#[cfg(test)]
mod tests;
