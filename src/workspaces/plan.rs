//! Everything that a start creates, as values: the pod, then its Secret and its Services.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;

use super::content::{guest, volume};
use super::env::{self, Source};
use super::start_request::StartRequest;
use super::trace::{self, Trace};
use super::url::{self, Values};
use super::{marks, names, pod, pvc, secret, services, sizes, template};
use crate::action::Dependant;
use crate::config::{Class, Manager, Services};
use crate::error::{Error, FieldViolation};
use crate::proto::wsman::WorkspaceType;

mod initial_marks;

use initial_marks::{annotations, content, labels, ports};

/// The two tokens of a workspace, from random bytes; see [`token`].
#[derive(Clone)]
pub struct Tokens {
    /// Value of GITPOD_CLI_APITOKEN.
    pub cli_api: String,
    /// For the owner's access.
    pub owner: String,
}

/// What a start creates and returns. It has secrets, so it cannot be printed.
#[derive(Clone)]
pub struct Plan {
    /// Instance id.
    pub id: String,
    /// The commit point.
    pub pod: Pod,
    /// The Secret and the volume claim, if any, then the Services. Without owner references: they need the uid of the created pod.
    pub dependants: Vec<Dependant>,
    /// The volume snapshot that its claim begins with.
    pub volume: Option<volume::Source>,
    /// The URL of the workspace.
    pub url: String,
    /// For the owner's access.
    pub owner_token: String,
    /// Fingerprint of the request; the value of `wsman.dev/spec-sha256`.
    pub fingerprint: String,
}

impl Plan {
    /// Adds the trace of the start. It is not part of the request: a retry has another one.
    pub fn trace(&mut self, trace: &Trace) {
        let marks = trace
            .headers()
            .map(|(name, text)| (trace::annotation(name).to_owned(), text.to_owned()));
        let annotations = &mut self.pod.metadata.annotations;
        annotations.get_or_insert_default().extend(marks);
    }
}

/// Random bytes that suffice for a token with a probability of more than 1 - 10^-9.
pub const TOKEN_BYTES: usize = 96;

/// Turns random bytes into 32 characters of `0-9A-Za-z_-.`, each equally likely: biased bytes are skipped. `None` if
/// too few are left; then retry with new bytes.
pub fn token(random: &[u8]) -> Option<String> {
    const ALPHABET: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-.";
    let fair = 256 - 256 % ALPHABET.len();
    let text: String = random
        .iter()
        .map(|byte| usize::from(*byte))
        .filter(|byte| *byte < fair)
        .take(32)
        .map(|byte| char::from(ALPHABET[byte % ALPHABET.len()]))
        .collect();
    (text.len() == 32).then_some(text)
}

/// Builds everything that starting `request` creates. Two plans of the same request differ only in their tokens.
///
/// # Errors
/// [`Error::Invalid`] if the objects are too large for Kubernetes, with the largest fields, or if a template results in
/// no pod or no URL.
pub fn plan(request: &StartRequest, manager: &Manager, tokens: &Tokens) -> Result<Plan, Error> {
    let (class_id, class) = class(request, manager)?;
    let template = match request.kind {
        WorkspaceType::Regular => &class.templates.regular,
        WorkspaceType::Prebuild => &class.templates.prebuild,
        WorkspaceType::Imagebuild => &class.templates.imagebuild,
    };
    let template = template.as_ref().map_err(|why| {
        let why = format!("cannot create workspace pod: {why}");
        broken("spec.class", &why)
    })?;
    let url = manager.url_template.render(&Values {
        id: &request.id,
        prefix: &request.service_prefix,
        host: &manager.host_url,
        port: 0,
    });
    url::check(&url).map_err(|why| broken("service_prefix", &why))?;
    let name = names::pod(request.kind, &request.id);
    let labels = labels(request, class_id);
    let variables = env::build(request, manager, class, &url, &tokens.cli_api);
    let mut secrets = BTreeMap::new();
    for variable in &variables {
        if let Source::Own(value) = &variable.source {
            secrets.insert(env::secret_key(&variable.name), value.clone());
        }
    }
    let mut annotations = annotations(request, manager, class, &url, &tokens.owner)?;
    let initializer = content(request, &mut annotations, &mut secrets);
    let guest = guest::of(request, manager);
    if let Some(guest) = guest {
        guest::add_plan(request, &initializer, manager, class, guest, &mut secrets);
    }
    let services = match manager.services {
        Services::Off => Vec::new(),
        kind => {
            ports(request, manager, &mut annotations);
            let headless = kind == Services::Headless;
            services::of_pod(&manager.namespace, &labels, &annotations, headless)
        }
    };
    let pvc = pvc::build(
        request,
        class,
        &name,
        &manager.namespace,
        &labels,
        volume::source_name(request),
    );
    let size = pvc::of(class, request.kind).filter(|_| pvc.is_some());
    let volume = size.and_then(|pvc| {
        let size = pvc.size.as_ref()?.as_str();
        volume::source(request, &pvc.snapshot_class, size, &labels, &annotations)
    });
    let secret_keys: Vec<String> = secrets.keys().cloned().collect();
    let secret = secret::build(&name, &manager.namespace, &labels, secrets);
    let mut dependants: Vec<Dependant> = secret
        .map(|secret| Dependant::Secret(Box::new(secret)))
        .into_iter()
        .chain(pvc.map(|pvc| Dependant::Pvc(Box::new(pvc))))
        .collect();
    dependants.extend(
        services
            .into_iter()
            .map(|s| Dependant::Service(Box::new(s))),
    );
    let security_by_template = template::container(template, marks::CONTAINER)
        .is_some_and(|container| container.get("securityContext").is_some());
    let parts = pod::Parts {
        manager,
        class,
        name: &name,
        labels,
        annotations,
        env: &variables,
        guest,
        secret_keys: &secret_keys,
        security_by_template,
    };
    let pod = with_template(pod::build(request, parts), template)?;
    sizes::check(request, &pod, &dependants)?;
    Ok(Plan {
        id: request.id.clone(),
        pod,
        dependants,
        volume,
        url,
        owner_token: tokens.owner.clone(),
        fingerprint: request.fingerprint.clone(),
    })
}

/// Looks up the class. Its problems are reported with the configuration, so they stop only lenient plans.
fn class<'a>(request: &StartRequest, manager: &'a Manager) -> Result<(&'a str, &'a Class), Error> {
    let Some((id, class)) = manager.class(&request.spec.class) else {
        let why = "cannot create context: missing \"default\" workspace class";
        return Err(broken("spec.class", why));
    };
    match &class.broken {
        Some(why) => Err(broken("spec.class", why)),
        None => Ok((id, class)),
    }
}

fn broken(field: &str, why: &str) -> Error {
    Error::Invalid {
        message: why.to_owned(),
        violations: vec![FieldViolation::new(field, why)],
    }
}

fn with_template(pod: Pod, template: &serde_json::Value) -> Result<Pod, Error> {
    if template.is_null() {
        return Ok(pod);
    }
    let failed = |e: serde_json::Error| {
        broken(
            "spec.class",
            &format!("cannot create workspace pod: the class's template: {e}"),
        )
    };
    let pod = serde_json::to_value(pod).map_err(failed)?;
    serde_json::from_value(template::merge(pod, template.clone())).map_err(failed)
}

#[cfg(test)]
mod tests;
