//! The environment and the command of a container; pure. What they refer to was read before.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EnvVarSource, Pod};

use super::fields;

/// Secrets and ConfigMaps by name; none if it is not there.
pub(crate) type Objects = BTreeMap<String, Option<BTreeMap<String, Vec<u8>>>>;

/// The objects that an environment refers to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sources {
    pub(crate) secrets: Objects,
    pub(crate) config_maps: Objects,
}

/// The variables of a container, in the order of their definition; the error is the kubelet's text.
pub(crate) fn variables(
    container: &Container,
    pod: &Pod,
    sources: &Sources,
) -> Result<Vec<(String, String)>, String> {
    let mut all = Variables::default();
    for from in container.env_from.iter().flatten() {
        let prefix = from.prefix.as_deref().unwrap_or_default();
        let object = if let Some(secret) = &from.secret_ref {
            object(&sources.secrets, "secret", &secret.name, secret.optional)?
        } else if let Some(map) = &from.config_map_ref {
            object(&sources.config_maps, "configmap", &map.name, map.optional)?
        } else {
            None
        };
        for (key, value) in object.into_iter().flatten() {
            all.set(&format!("{prefix}{key}"), text(value));
        }
    }
    for variable in container.env.iter().flatten() {
        let value = match (&variable.value, &variable.value_from) {
            (_, Some(from)) => match source(from, container, pod, sources)? {
                Some(value) => value,
                None => continue,
            },
            (value, None) => {
                let value = value.as_deref().unwrap_or_default();
                expand(value, |name| all.get(name))
            }
        };
        all.set(&variable.name, value);
    }
    Ok(all.0)
}

/// The command line, if the container has one: without it, the image would have to be known.
pub(crate) fn command_line(
    container: &Container,
    variables: &[(String, String)],
) -> Option<Vec<String>> {
    let command = container.command.as_ref().filter(|all| !all.is_empty())?;
    let lookup = |name: &str| {
        let found = variables.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    };
    let parts = command.iter().chain(container.args.iter().flatten());
    Some(parts.map(|part| expand(part, lookup)).collect())
}

/// Replaces `$(NAME)`; `$$` is a `$`, and what is not defined stays.
pub(crate) fn expand<'a>(text: &str, lookup: impl Fn(&str) -> Option<&'a str>) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        expanded.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            expanded.push('$');
            rest = after;
        } else if let Some((name, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            match lookup(name) {
                Some(value) => expanded.push_str(value),
                None => expanded.push_str(&format!("$({name})")),
            }
            rest = after;
        } else {
            expanded.push('$');
        }
    }
    expanded.push_str(rest);
    expanded
}

/// Variables, of which a later one of the same name replaces the earlier.
#[derive(Default)]
struct Variables(Vec<(String, String)>);

impl Variables {
    fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    fn set(&mut self, name: &str, value: String) {
        // No process can have such a name.
        if name.is_empty() || name.contains(['=', '\0']) {
            return;
        }
        self.0.retain(|(known, _)| known != name);
        self.0.push((name.to_owned(), value));
    }
}

fn source(
    from: &EnvVarSource,
    container: &Container,
    pod: &Pod,
    sources: &Sources,
) -> Result<Option<String>, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let missing = |kind: &str, key: &str, name: &str| {
        Err(format!(
            "couldn't find key {key} in {kind} {namespace}/{name}"
        ))
    };
    if let Some(field) = &from.field_ref {
        return fields::of_pod(pod, &field.field_path).map(Some);
    }
    if let Some(field) = &from.resource_field_ref {
        return fields::of_container(container, &field.resource, field.divisor.as_ref()).map(Some);
    }
    if let Some(key) = &from.secret_key_ref {
        let data = object(&sources.secrets, "secret", &key.name, key.optional)?;
        return match data.and_then(|data| data.get(&key.key)) {
            None if key.optional != Some(true) => missing("Secret", &key.key, &key.name),
            value => Ok(value.map(|value| text(value))),
        };
    }
    if let Some(key) = &from.config_map_key_ref {
        let data = object(&sources.config_maps, "configmap", &key.name, key.optional)?;
        return match data.and_then(|data| data.get(&key.key)) {
            None if key.optional != Some(true) => missing("ConfigMap", &key.key, &key.name),
            value => Ok(value.map(|value| text(value))),
        };
    }
    Err("a source of a variable that a process cannot have".to_owned())
}

fn object<'a>(
    known: &'a Objects,
    kind: &str,
    name: &str,
    optional: Option<bool>,
) -> Result<Option<&'a BTreeMap<String, Vec<u8>>>, String> {
    match known.get(name).and_then(Option::as_ref) {
        None if optional != Some(true) => Err(format!("{kind} {name:?} not found")),
        data => Ok(data),
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(container: Value) -> Result<Vec<(String, String)>, String> {
        let container = serde_json::from_value(container).unwrap();
        let pod = json!({
            "metadata": { "name": "p", "namespace": "n", "labels": { "app": "x" } },
            "spec": { "nodeName": "node", "containers": [] },
        });
        let pod = serde_json::from_value(pod).unwrap();
        let data = BTreeMap::from([("key".to_owned(), b"value".to_vec())]);
        let sources = Sources {
            secrets: BTreeMap::from([
                ("there".to_owned(), Some(data.clone())),
                ("gone".to_owned(), None),
            ]),
            config_maps: BTreeMap::from([("map".to_owned(), Some(data))]),
        };
        variables(&container, &pod, &sources)
    }

    fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn variables_are_expanded_as_in_a_cluster() {
        fn value(name: &str) -> Option<&'static str> {
            match name {
                "A" => Some("a"),
                "B" => Some("$(A)"),
                _ => None,
            }
        }
        for (text, expected) in [
            ("$(A)", "a"),
            ("x$(A)y$(A)", "xaya"),
            ("$$(A)", "$(A)"),
            ("$(B)", "$(A)"),
            ("$(C)", "$(C)"),
            ("$A $", "$A $"),
            ("$(A", "$(A"),
            ("$$$$", "$$"),
        ] {
            assert_eq!(expand(text, value), expected, "{text}");
        }
    }

    #[test]
    fn variables_come_from_all_sources() {
        let all = read(json!({ "name": "c",
            "envFrom": [{ "secretRef": { "name": "there" }, "prefix": "S_" }, { "configMapRef": { "name": "map" } }],
            "env": [
                { "name": "FIRST", "value": "1" },
                { "name": "SECOND", "value": "$(FIRST)$(S_key)" },
                { "name": "key", "value": "replaced" },
                { "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "there", "key": "key" } } },
                { "name": "MAP", "valueFrom": { "configMapKeyRef": { "name": "map", "key": "key" } } },
                { "name": "NONE", "valueFrom": { "secretKeyRef": { "name": "gone", "key": "k", "optional": true } } },
                { "name": "LABEL", "valueFrom": { "fieldRef": { "fieldPath": "metadata.labels['app']" } } },
                { "name": "NODE", "valueFrom": { "fieldRef": { "fieldPath": "spec.nodeName" } } },
            ],
        }));
        let expected = pairs(&[
            ("S_key", "value"),
            ("FIRST", "1"),
            ("SECOND", "1value"),
            ("key", "replaced"),
            ("SECRET", "value"),
            ("MAP", "value"),
            ("LABEL", "x"),
            ("NODE", "node"),
        ]);
        assert_eq!(all, Ok(expected));
    }

    #[test]
    fn what_is_missing_is_named() {
        let secret = |name: &str, key: &str| {
            let from = json!({ "secretKeyRef": { "name": name, "key": key } });
            read(json!({ "name": "c", "env": [{ "name": "V", "valueFrom": from }] })).unwrap_err()
        };
        assert_eq!(secret("gone", "key"), "secret \"gone\" not found");
        assert_eq!(
            secret("there", "other"),
            "couldn't find key other in Secret n/there"
        );
        let from = json!([{ "configMapRef": { "name": "none" } }]);
        let error = read(json!({ "name": "c", "envFrom": from })).unwrap_err();
        assert_eq!(error, "configmap \"none\" not found");
    }

    #[test]
    fn arguments_follow_the_command() {
        let line = |container: Value| {
            let container = serde_json::from_value(container).unwrap();
            command_line(&container, &pairs(&[("A", "a")]))
        };
        let both = json!({ "name": "c", "command": ["run", "$(A)"], "args": ["$(A)", "$(B)"] });
        let expected = ["run", "a", "a", "$(B)"].map(str::to_owned);
        assert_eq!(line(both), Some(expected.to_vec()));
        assert_eq!(line(json!({ "name": "c", "args": ["x"] })), None);
    }
}
