//! The rules for the values of a request, so that Kubernetes accepts them and none is an injection
//! (docs/faults.md#hostile-input). The classic manager left all of this to the API server.

use super::faults::Faults;
use crate::duration::GoDuration;
use crate::proto::wsman::{
    AdmissionLevel, EnvironmentVariable, StartWorkspaceSpec, WorkspaceFeatureFlag,
    WorkspaceMetadata,
};
use crate::redact::{is_digest, show};
use crate::workspaces::port::{self, MAX_PORTS};
use crate::workspaces::{initializer, names, ssh_key};

/// Most bytes of `name=value` that Linux passes to a program (MAX_ARG_STRLEN, with the NUL).
pub(super) const MAX_VARIABLE: usize = 128 << 10;
/// Numbers of former flags. Old callers still send them; they are ignored.
pub(super) const FORMER_FLAGS: [i32; 6] = [1, 2, 3, 5, 6, 8];
/// Most bytes of a name.
pub(super) const MAX_TEXT: usize = 4 << 10;

pub(super) fn metadata(metadata: &WorkspaceMetadata, faults: &mut Faults) {
    line("metadata.owner", &metadata.owner, faults);
    line("metadata.meta_id", &metadata.meta_id, faults);
    line("metadata.team", metadata.team(), faults);
    line("metadata.project", metadata.project(), faults);
    for (key, value) in &metadata.annotations {
        let field = format!("metadata.annotations[{}]", show(key));
        // It becomes gitpod.io/annotation.<key>.
        if key.contains('/') {
            let why = "the key must not contain '/': prefixes are reserved";
            faults.add(field.clone(), why);
        } else if !names::is_name_part(&format!("annotation.{key}")) {
            faults.add(
                field.clone(),
                "the key must be at most 52 letters, digits, '-', '_' and '.', with a letter or digit at the end",
            );
        }
        if value
            .chars()
            .any(|c| c.is_control() && !"\t\n\r".contains(c))
        {
            faults.add(field, "the value contains control characters");
        }
    }
}

#[allow(deprecated)] // Clients of the classic manager still send the old fields.
pub(super) fn spec(spec: &StartWorkspaceSpec, faults: &mut Faults) {
    image("spec.workspace_image", &spec.workspace_image, faults);
    image(
        "spec.deprecated_ide_image",
        &spec.deprecated_ide_image,
        faults,
    );
    if let Some(ide) = &spec.ide_image {
        image("spec.ide_image.web_ref", &ide.web_ref, faults);
        image("spec.ide_image.supervisor_ref", &ide.supervisor_ref, faults);
        image("spec.ide_image.desktop_ref", &ide.desktop_ref, faults);
        image(
            "spec.ide_image.desktop_plugin_ref",
            &ide.desktop_plugin_ref,
            faults,
        );
    }
    for (i, layer) in spec.ide_image_layers.iter().enumerate() {
        image(&format!("spec.ide_image_layers[{i}]"), layer, faults);
    }
    if let Some(initializer) = &spec.initializer {
        let mut found = Vec::new();
        initializer::faults(initializer, &mut found);
        for location in initializer::checkout_locations(Some(initializer)) {
            line("spec.initializer: a checkout_location", location, faults);
        }
        for fault in found {
            faults.add(fault.field, fault.why);
        }
    }
    ports(spec, faults);
    variables("spec.envvars", &spec.envvars, true, faults);
    variables("spec.sys_envvars", &spec.sys_envvars, false, faults);
    line("spec.workspace_location", &spec.workspace_location, faults);
    line("spec.class", &spec.class, faults);
    if let Some(git) = &spec.git {
        line("spec.git.username", &git.username, faults);
        line("spec.git.email", &git.email, faults);
    }
    for (key, text) in [
        ("timeout", &spec.timeout),
        ("closed_timeout", &spec.closed_timeout),
        ("maximum_lifetime", &spec.maximum_lifetime),
    ] {
        let field = format!("spec.{key}");
        match GoDuration::parse(text) {
            _ if text.is_empty() => {}
            Ok(duration) if duration.as_nanos() >= 0 => {}
            Ok(_) => faults.add(field, format!("is {}; must not be negative", show(text))),
            Err(_) => faults.add(
                field,
                format!("is {}; must be a duration such as \"1h30m\"", show(text)),
            ),
        }
    }
    if AdmissionLevel::try_from(spec.admission).is_err() {
        let why = format!("value {} is out of range", spec.admission);
        faults.add("spec.admission", why);
    }
    for (i, flag) in spec.feature_flags.iter().enumerate() {
        if WorkspaceFeatureFlag::try_from(*flag).is_err() && !FORMER_FLAGS.contains(flag) {
            let why = format!("value {flag} is out of range");
            faults.add(format!("spec.feature_flags[{i}]"), why);
        }
    }
    for (i, key) in spec.ssh_public_keys.iter().enumerate() {
        if let Some(why) = ssh_key::fault(key) {
            faults.add(format!("spec.ssh_public_keys[{i}]"), why);
        }
    }
}

fn ports(spec: &StartWorkspaceSpec, faults: &mut Faults) {
    let count = spec.ports.len();
    if count > MAX_PORTS {
        faults.add(
            "spec.ports",
            format!("has {count}; at most {MAX_PORTS} are possible"),
        );
    }
    for (i, spec) in spec.ports.iter().enumerate() {
        for fault in port::exposed_faults(&format!("spec.ports[{i}]"), spec) {
            faults.add(fault.field, fault.why);
        }
    }
}

/// Checks variables; values are never printed, they may be secret. One without a name is ignored, as in the classic
/// manager.
fn variables(field: &str, list: &[EnvironmentVariable], secrets: bool, faults: &mut Faults) {
    for (i, variable) in list.iter().enumerate() {
        let EnvironmentVariable {
            name,
            value,
            secret,
        } = variable;
        let field = |part: &str| format!("{field}[{i}].{part}");
        if name.is_empty() {
            continue;
        }
        if !names::is_env_name(name) {
            faults.add(
                field("name"),
                format!(
                    "is {}; must consist of letters, digits, '_', '-' and '.', and not begin with a digit",
                    show(name)
                ),
            );
        }
        if value.contains('\0') {
            faults.add(field("value"), "contains a NUL character");
        }
        if name.len() + value.len() + 2 > MAX_VARIABLE {
            let size = name.len() + value.len();
            faults.add(
                field("value"),
                format!("name and value are {size} bytes; no program can be given more than {MAX_VARIABLE}"),
            );
        }
        if let Some(secret) = secret
            && secrets
            && value.is_empty()
        {
            if !names::is_dns_subdomain(&secret.secret_name) {
                let why = format!("is {}, no name of a Secret", show(&secret.secret_name));
                faults.add(field("secret.secret_name"), why);
            }
            if !names::is_data_key(&secret.key) {
                let why = format!("is {}, no key of a Secret", show(&secret.key));
                faults.add(field("secret.key"), why);
            }
        }
    }
}

/// Checks the characters of an image reference: all of it goes to container runtimes and registries. Credentials are
/// rejected: they would be in pods, events and logs.
fn image(field: &str, reference: &str, faults: &mut Faults) {
    if let Some((_, digest)) = reference.rsplit_once('@')
        && !is_digest(digest)
    {
        let why = "has something before a '@' that is no digest; give credentials as an image pull secret";
        faults.add(field, why);
    } else if !names::is_image(reference) {
        faults.add(field, format!("is {}, no image reference", show(reference)));
    }
}

/// Checks a text that is one line of limited length.
fn line(field: &str, text: &str, faults: &mut Faults) {
    if text.chars().any(char::is_control) {
        faults.add(
            field,
            format!("is {}; contains control characters", show(text)),
        );
    }
    if text.len() > MAX_TEXT {
        let why = format!("is {} bytes long; must be at most {MAX_TEXT}", text.len());
        faults.add(field, why);
    }
}
