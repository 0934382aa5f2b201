//! Objects without what identifies their owners. Only what the fold reads is left, and of that only what it needs: the
//! texts of nodes and containers stay, with the names replaced that are known from elsewhere.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use prost::Message;
use serde_json::{Map, Value};

use super::names::{Kind, Names};
use crate::index::observed::KnownNode;
use crate::objects::{Container, ContainerState, ContainerStatus, Event, Meta, Node, Pod};
use crate::proto::wsman::ExposedPorts;
use crate::redact::is_digest;
use crate::trace::REDACTED;
use crate::workspaces::case::Objects;
use crate::workspaces::image;
use crate::workspaces::marks::{CONTAINER, DEBUG_FINALIZER, FINALIZER, annotation, label};
use crate::workspaces::names::is_name_part;

/// Returns objects under other names.
pub(super) fn objects(objects: &Objects, names: &mut Names) -> Objects {
    let mut objects = objects.clone();
    pod(&mut objects.pod, names);
    for event in &mut objects.events {
        of_event(event, names);
    }
    if let KnownNode::Present(node) = &mut objects.node {
        of_node(node, names);
    }
    texts(&mut objects, names);
    objects
}

fn pod(pod: &mut Pod, names: &mut Names) {
    meta(&mut pod.metadata, names);
    let spec = &mut pod.spec;
    spec.node_name = names.give(Kind::Node, &spec.node_name);
    for container in spec.containers.iter_mut().chain(&mut spec.init_containers) {
        let Container { name, image, .. } = container;
        *name = container_name(name, names);
        *image = reference(image, names);
    }
    for toleration in &mut spec.tolerations {
        toleration.key = taint(&toleration.key, names);
    }
    let status = &mut pod.status;
    status.host_ip = names.give(Kind::Address, &status.host_ip);
    for container in containers(pod) {
        container.name = container_name(&container.name, names);
        container.image = reference(&container.image, names);
    }
}

fn containers(pod: &mut Pod) -> impl Iterator<Item = &mut ContainerStatus> {
    let status = &mut pod.status;
    let inits = &mut status.init_container_statuses;
    let debuggers = &mut status.ephemeral_container_statuses;
    let all = status.container_statuses.iter_mut();
    all.chain(inits).chain(debuggers)
}

fn meta(meta: &mut Meta, names: &mut Names) {
    let given = [
        meta.annotation(annotation::ID),
        meta.label(label::WORKSPACE_ID),
    ];
    for id in given.into_iter().flatten() {
        names.give(Kind::Id, id);
    }
    meta.name = pod_name(&meta.name, names);
    meta.namespace = names.give(Kind::Namespace, &meta.namespace);
    meta.uid = names.give(Kind::Uid, &meta.uid);
    meta.labels = labels(&meta.labels, names);
    meta.annotations = annotations(&meta.annotations, names);
    for finalizer in &mut meta.finalizers {
        if ![FINALIZER, DEBUG_FINALIZER].contains(&finalizer.as_str()) {
            *finalizer = names.give(Kind::Finalizer, finalizer);
        }
    }
    for owner in &mut meta.owner_references {
        owner.name = pod_name(&owner.name, names);
        owner.uid = names.give(Kind::Uid, &owner.uid);
    }
}

/// The name of a workspace's pod is made of its id.
fn pod_name(name: &str, names: &mut Names) -> String {
    for prefix in ["ws-", "prebuild-", "imagebuild-"] {
        if let Some(id) = name.strip_prefix(prefix) {
            return format!("{prefix}{}", names.give(Kind::Id, id));
        }
    }
    names.give(Kind::Pod, name)
}

fn container_name(name: &str, names: &mut Names) -> String {
    match name {
        CONTAINER => name.to_owned(),
        _ => names.give(Kind::Container, name),
    }
}

/// Those of Kubernetes stay.
fn taint(key: &str, names: &mut Names) -> String {
    match key.contains("kubernetes.io/") {
        true => key.to_owned(),
        false => names.give(Kind::Taint, key),
    }
}

/// Labels that the fold does not read go.
fn labels(labels: &BTreeMap<String, String>, names: &mut Names) -> BTreeMap<String, String> {
    let shown = labels.iter().filter_map(|(key, value)| {
        let value = match key.as_str() {
            label::WORKSPACE_ID => names.give(Kind::Id, value),
            label::OWNER => names.give(Kind::Owner, value),
            label::META_ID => names.give(Kind::MetaId, value),
            label::PROJECT => names.give(Kind::Project, value),
            label::TEAM => names.give(Kind::Team, value),
            label::CLASS if value != "default" => names.give(Kind::Class, value),
            label::CLASS
            | label::APP
            | label::COMPONENT
            | label::TYPE
            | label::HEADLESS
            | label::MARKER => value.clone(),
            _ => return None,
        };
        Some((key.clone(), value))
    });
    shown.collect()
}

/// Annotations that nobody here reads go, and so does the trace of the caller.
fn annotations(all: &BTreeMap<String, String>, names: &mut Names) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    for (key, value) in all {
        let (key, value) = match key.strip_prefix(annotation::USER_PREFIX) {
            Some(own) => {
                let own = names.give(Kind::Mark, own);
                let key = format!("{}{own}", annotation::USER_PREFIX);
                (key, names.give(Kind::Value, value))
            }
            None => match mark(key, value, names) {
                Some(value) => (key.clone(), value),
                None => continue,
            },
        };
        shown.insert(key, value);
    }
    shown
}

fn mark(key: &str, value: &str, names: &mut Names) -> Option<String> {
    use annotation as a;
    Some(match key {
        a::ID => names.give(Kind::Id, value),
        a::SERVICE_PREFIX if is_name_part(value) => names.give(Kind::Id, value),
        a::URL | a::SNAPSHOT => url(value, names),
        a::CONTENT_INITIALIZER | a::OWNER_TOKEN | a::SSH_PUBLIC_KEYS => match value {
            "" => String::new(),
            _ => REDACTED.to_owned(),
        },
        a::IMAGE_SPEC => images(value, names).unwrap_or_else(|| value.to_owned()),
        a::EXPOSED_PORTS => ports(value, names).unwrap_or_else(|| value.to_owned()),
        a::VOLUME_SNAPSHOT => members(value, names).unwrap_or_else(|| value.to_owned()),
        a::NODE_NAME => names.give(Kind::Node, value),
        a::OWNER => names.give(Kind::Owner, value),
        a::META_ID => names.give(Kind::MetaId, value),
        a::TEAM => names.give(Kind::Team, value),
        a::PROJECT => names.give(Kind::Project, value),
        a::FIRST_UID => names.give(Kind::Uid, value),
        a::SUCCESSOR => pod_name(value, names),
        a::SPEC_SHA256 => "0".repeat(64),
        // Words and times; names in them are replaced with those of all other texts.
        a::SERVICE_PREFIX
        | a::NEVER_READY
        | a::ADMISSION
        | a::ATTEMPTING_TO_CREATE
        | a::CUSTOM_TIMEOUT
        | a::CUSTOM_CLOSED_TIMEOUT
        | a::ALREADY_INITIALIZING
        | a::FIRST_USER_ACTIVITY
        | a::CLOSED
        | a::TIMED_OUT
        | a::EXPLICIT_FAIL
        | a::FAILED_BEFORE_STOPPING
        | a::DISPOSAL_STATUS
        | a::STOPPED_BY_REQUEST
        | a::ABORT_REQUEST
        | a::READY_BY
        | a::SERVICES_REFUSED
        | a::IN_SECRET
        | a::MAXIMUM_LIFETIME
        | a::FAILURE
        | a::STUCK
        | a::FORCED
        | a::PORTS_CHANGED
        | a::RECREATIONS
        | a::STARTED_AT
        | a::STOPPED => value.to_owned(),
        _ => return None,
    })
}

fn decode<T: Message + Default>(value: &str) -> Option<T> {
    let bytes = BASE64_STANDARD.decode(value).ok()?;
    T::decode(bytes.as_slice()).ok()
}

fn images(value: &str, names: &mut Names) -> Option<String> {
    image::edit(value, |spec| {
        for image in image::references(spec) {
            *image = reference(image, names);
        }
        spec.content_layer.clear();
    })
}

fn ports(value: &str, names: &mut Names) -> Option<String> {
    let mut exposed: ExposedPorts = decode(value)?;
    for port in &mut exposed.ports {
        port.url = url(&port.url, names);
    }
    Some(BASE64_STANDARD.encode(exposed.encode_to_vec()))
}

fn members(value: &str, names: &mut Names) -> Option<String> {
    let members: Map<String, Value> = serde_json::from_str(value).ok()?;
    let members = members.into_iter().map(|(key, value)| match value {
        Value::String(text) => (key, names.give(Kind::Text, &text).into()),
        other => (key, other),
    });
    Some(Value::Object(members.collect()).to_string())
}

/// Scheme and port stay, the rest goes with the host.
fn url(text: &str, names: &mut Names) -> String {
    let Some((scheme, rest)) = text.split_once("://") else {
        return names.give(Kind::Text, text);
    };
    let place = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = place.rsplit('@').next().unwrap_or_default();
    let port = place.rsplit_once(':').filter(|(_, port)| is_port(port));
    let (host, port) = port.unwrap_or((place, ""));
    let host = names.give(Kind::Host, host);
    match port {
        "" => format!("{scheme}://{host}"),
        port => format!("{scheme}://{host}:{port}"),
    }
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// An image in its shape: registry with its port, as many parts of a path, tag and digest.
fn reference(image: &str, names: &mut Names) -> String {
    if image.is_empty() {
        return String::new();
    }
    let whole = image;
    let (image, digest) = match image.rsplit_once('@') {
        Some((before, after)) if is_digest(after) => (before, format!("@{after}")),
        _ => (image, String::new()),
    };
    let image = image.rsplit('@').next().unwrap_or_default();
    let (path, tag) = match image.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, format!(":{tag}")),
        _ => (image, String::new()),
    };
    let (registry, path) = match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => {
            (Some(first), rest)
        }
        _ => (None, path),
    };
    let parts: Vec<String> = path
        .split('/')
        .map(|part| names.give(Kind::Repository, part))
        .collect();
    let registry = registry.map_or_else(String::new, |registry| {
        let (host, port) = registry.split_once(':').unwrap_or((registry, ""));
        let host = names.give(Kind::Registry, host);
        match port {
            "" => format!("{host}/"),
            port => format!("{host}:{port}/"),
        }
    });
    let parts = parts.join("/");
    if path.contains('/') {
        names.note(Kind::Image, path, &parts);
    }
    let new = format!("{registry}{parts}{tag}{digest}");
    names.note(Kind::Image, whole, &new);
    new
}

fn of_event(event: &mut Event, names: &mut Names) {
    let about = &mut event.involved_object;
    about.name = pod_name(&about.name, names);
    about.uid = names.give(Kind::Uid, &about.uid);
    let meta = &mut event.metadata;
    meta.name = names.give(Kind::Event, &meta.name);
    meta.namespace = names.give(Kind::Namespace, &meta.namespace);
    meta.uid = names.give(Kind::Uid, &meta.uid);
    meta.labels.clear();
    meta.annotations.clear();
}

fn of_node(node: &mut Node, names: &mut Names) {
    let meta = &mut node.metadata;
    meta.name = names.give(Kind::Node, &meta.name);
    meta.uid = names.give(Kind::Uid, &meta.uid);
    meta.labels.clear();
    meta.annotations.clear();
    meta.finalizers.clear();
    meta.owner_references.clear();
    for tainted in &mut node.spec.taints {
        tainted.key = taint(&tainted.key, names);
    }
}

/// Replaces the names in texts, once all are known.
fn texts(objects: &mut Objects, names: &Names) {
    let replace = |text: &mut String| *text = names.text(text);
    for event in &mut objects.events {
        replace(&mut event.message);
    }
    if let KnownNode::Present(node) = &mut objects.node {
        for condition in &mut node.status.conditions {
            replace(&mut condition.message);
        }
    }
    let pod = &mut objects.pod;
    replace(&mut pod.status.message);
    for condition in &mut pod.status.conditions {
        replace(&mut condition.message);
    }
    for container in containers(pod) {
        for state in [&mut container.state, &mut container.last_state] {
            let ContainerState {
                waiting,
                terminated,
                ..
            } = state;
            let waiting = waiting.as_mut().map(|waiting| &mut waiting.message);
            let ended = terminated.as_mut().map(|ended| &mut ended.message);
            waiting.into_iter().chain(ended).for_each(replace);
        }
    }
    for key in [
        annotation::TIMED_OUT,
        annotation::EXPLICIT_FAIL,
        annotation::FAILURE,
        annotation::STUCK,
        annotation::FORCED,
        annotation::SERVICES_REFUSED,
        annotation::DISPOSAL_STATUS,
    ] {
        if let Some(value) = pod.metadata.annotations.get_mut(key) {
            replace(value);
        }
    }
}
