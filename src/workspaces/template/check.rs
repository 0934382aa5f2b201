//! Finds the problems of a template: what is no Pod, unknown fields, invalid quantities, ignored fields.

use std::cell::RefCell;
use std::fmt;

use k8s_openapi::api::core::v1::Pod;
use serde::de::value::Error;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IntoDeserializer, MapAccess, SeqAccess, Visitor,
};
use serde::{Deserialize, forward_to_deserialize_any};
use serde_json::Value;

use super::{marks, parse, quantities};
use crate::quantity::Quantity;
use crate::spelling::nearest;

/// Most type errors that are searched for in one template.
const MOST: usize = 50;

/// A problem of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Its path in the template; empty for the whole.
    pub path: String,
    /// What is wrong, and what to do.
    pub message: String,
    /// Whether no pod should be created with it.
    pub is_error: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// Checks the text of a template against the Kubernetes version of this build.
pub fn check(text: &str) -> Vec<Finding> {
    let mut findings = Findings::default();
    match parse(text) {
        Err(why) => findings.error("", why),
        Ok(Value::Null) => findings.error("", "is empty; it must hold a Pod"),
        Ok(Value::Object(members)) if members.is_empty() => {
            findings.error("", "is empty; it must hold a Pod");
        }
        Ok(value @ Value::Object(_)) => findings.pod(value),
        Ok(_) => findings.error("", "is no object; it must hold a Pod"),
    }
    findings.0
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn error(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.add(path.into(), message.into(), true);
    }

    fn warn(&mut self, path: impl Into<String>, message: impl Into<String>) {
        self.add(path.into(), message.into(), false);
    }

    fn add(&mut self, path: String, message: String, is_error: bool) {
        self.0.push(Finding {
            path,
            message,
            is_error,
        });
    }

    fn pod(&mut self, mut value: Value) {
        quantities(&mut value);
        self.amounts(&value, "");
        let mut last = None;
        for _ in 0..MOST {
            match serde_path_to_error::deserialize::<_, Pod>(&value) {
                Ok(pod) => {
                    let known = serde_json::to_value(pod).unwrap_or_default();
                    self.unknown(&value, &known, &mut Vec::new());
                    break;
                }
                Err(error) => {
                    let path = error.path().to_string();
                    let path = if path == "." { String::new() } else { path };
                    let pointer = pointer(&path);
                    if last.as_ref() == Some(&path) {
                        break;
                    }
                    self.error(path.clone(), plain(&error.inner().to_string()));
                    // Without this error, the next one shows.
                    match value.pointer_mut(&pointer) {
                        Some(fault) if !pointer.is_empty() => *fault = Value::Null,
                        _ => break,
                    }
                    last = Some(path);
                }
            }
        }
        self.names(&value);
        self.effects(&value);
    }

    /// Reports members that are lost in a Pod: it has no such field.
    fn unknown(&mut self, given: &Value, known: &Value, path: &mut Vec<String>) {
        match (given, known) {
            (Value::Object(given), Value::Object(known)) => {
                for (key, value) in given.iter().filter(|(_, value)| !value.is_null()) {
                    path.push(key.clone());
                    match known.get(key) {
                        Some(known) => self.unknown(value, known, path),
                        None => {
                            let fields = fields(&path[..path.len() - 1]);
                            let advice = match nearest(key, fields.iter().copied()) {
                                Some(near) => format!("did you mean {near:?}?"),
                                None => "remove it".to_owned(),
                            };
                            self.error(dotted(path), format!("unknown field; {advice}"));
                        }
                    }
                    path.pop();
                }
            }
            (Value::Array(given), Value::Array(known)) => {
                for (at, (given, known)) in given.iter().zip(known).enumerate() {
                    path.push(at.to_string());
                    self.unknown(given, known, path);
                    path.pop();
                }
            }
            _ => {}
        }
    }

    /// Reports invalid quantities of resources.
    fn amounts(&mut self, value: &Value, path: &str) {
        match value {
            Value::Object(members) => {
                for (key, member) in members {
                    let path = if path.is_empty() {
                        key.clone()
                    } else {
                        format!("{path}.{key}")
                    };
                    match (key.as_str(), member) {
                        ("limits" | "requests" | "overhead", Value::Object(amounts)) => {
                            for (name, amount) in amounts {
                                self.amount(amount, format!("{path}.{name}"));
                            }
                        }
                        ("sizeLimit", amount) => self.amount(amount, path),
                        (_, member) => self.amounts(member, &path),
                    }
                }
            }
            Value::Array(list) => {
                for (at, item) in list.iter().enumerate() {
                    self.amounts(item, &format!("{path}[{at}]"));
                }
            }
            _ => {}
        }
    }

    fn amount(&mut self, value: &Value, path: String) {
        if let Some(text) = value.as_str()
            && let Err(invalid) = Quantity::parse(text)
        {
            self.error(path, format!("is {text:?}; {}", invalid.advice(text)));
        }
    }

    /// Reports missing names.
    fn names(&mut self, pod: &Value) {
        for key in ["containers", "initContainers", "volumes"] {
            for (at, item) in list(pod, key) {
                if item
                    .get("name")
                    .and_then(Value::as_str)
                    .is_none_or(str::is_empty)
                {
                    self.error(format!("spec.{key}[{at}].name"), "is missing; give one");
                }
            }
        }
    }

    /// Warns about fields that a merge ignores.
    fn effects(&mut self, pod: &Value) {
        if pod.get("metadata").is_none() && pod.get("spec").is_none() {
            self.warn("", "has no effect: it has neither metadata nor spec");
        }
        let metadata = pod.get("metadata").and_then(Value::as_object);
        for (key, _) in metadata.into_iter().flatten().filter(|(_, v)| !v.is_null()) {
            let is_ours = matches!(key.as_str(), "labels" | "annotations" | "finalizers");
            // Tools that print a template add this one.
            if !is_ours && key != "creationTimestamp" {
                self.warn(
                    format!("metadata.{key}"),
                    "has no effect: wsman sets it itself",
                );
            }
        }
        for (at, container) in list(pod, "containers") {
            if let Some(name) = container["name"].as_str()
                && name != marks::CONTAINER
            {
                let want = marks::CONTAINER;
                self.warn(
                    format!("spec.containers[{at}]"),
                    format!("has no effect: is {name:?}; only the container {want:?} is merged"),
                );
            }
        }
    }
}

fn list<'a>(pod: &'a Value, key: &str) -> impl Iterator<Item = (usize, &'a Value)> {
    let list = pod.get("spec").and_then(|spec| spec.get(key));
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.enumerate().filter(|(_, item)| item.is_object())
}

/// Returns an error of serde in the words of the format.
fn plain(error: &str) -> String {
    let Some((found, wanted)) = error
        .trim_start_matches("invalid type: ")
        .trim_start_matches("invalid value: ")
        .split_once(", expected ")
    else {
        return error.to_owned();
    };
    let found = found
        .replace("string ", "")
        .replace("integer `", "")
        .replace("boolean `", "")
        .replace("floating point `", "")
        .replace('`', "")
        .replace("sequence", "a list")
        .replace("map", "an object");
    let wanted = match wanted {
        "i32" | "i64" | "u32" | "u64" => "a whole number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        "a map" => "an object",
        wanted
            if wanted.starts_with("struct ")
                || wanted.chars().next().is_some_and(char::is_uppercase) =>
        {
            return format!(
                "is {found}; must be an object ({})",
                wanted.trim_start_matches("struct ")
            );
        }
        wanted => wanted,
    };
    format!("is {found}; must be {wanted}")
}

/// Turns `spec.containers[0].name` into `/spec/containers/0/name`.
fn pointer(path: &str) -> String {
    let path = path.replace('[', ".").replace(']', "");
    let parts = path.split('.').filter(|part| !part.is_empty());
    parts.map(|part| format!("/{part}")).collect()
}

fn dotted(path: &[String]) -> String {
    let mut text = String::new();
    for part in path {
        if part.bytes().all(|b| b.is_ascii_digit()) {
            text.push_str(&format!("[{part}]"));
        } else if text.is_empty() {
            text.push_str(part);
        } else {
            text.push_str(&format!(".{part}"));
        }
    }
    text
}

/// Returns the fields of the Pod at a path, as its deserializer requests them.
fn fields(path: &[String]) -> Vec<&'static str> {
    let found = RefCell::default();
    let _ = Pod::deserialize(Probe {
        path,
        found: &found,
    });
    found.take()
}

/// Deserializes only the path to an object, and records the fields that are requested there.
#[derive(Clone, Copy)]
struct Probe<'a> {
    path: &'a [String],
    found: &'a RefCell<Vec<&'static str>>,
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("nothing is here"))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(Step(self))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_map(Step(self))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.path.is_empty() {
            self.found.replace(fields.to_vec());
            return Err(Error::custom("this is the path"));
        }
        visitor.visit_map(Step(self))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct
        tuple tuple_struct enum identifier ignored_any
    }
}

/// The one member that leads on.
struct Step<'a>(Probe<'a>);

impl<'a> Step<'a> {
    fn rest(&self) -> Probe<'a> {
        Probe {
            path: self.0.path.get(1..).unwrap_or_default(),
            found: self.0.found,
        }
    }
}

impl<'de> MapAccess<'de> for Step<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        match self.0.path.first() {
            Some(key) => seed.deserialize(key.clone().into_deserializer()).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Error> {
        seed.deserialize(self.rest())
    }
}

impl<'de> SeqAccess<'de> for Step<'_> {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Error> {
        seed.deserialize(self.rest()).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_pods_of_the_kubernetes_that_is_built_with() {
        for (text, lines) in [
            ("kind: Pod\nmetadata: {labels: {team: blue}}\n", &[][..]),
            ("", &["is empty; it must hold a Pod"]),
            ("# nothing\n", &["is empty; it must hold a Pod"]),
            ("{}", &["is empty; it must hold a Pod"]),
            ("- a\n", &["is no object; it must hold a Pod"]),
            (
                "kind: Pod\n",
                &["has no effect: it has neither metadata nor spec"],
            ),
            (
                "spec: {nodeSelecter: {disk: ssd}}",
                &["spec.nodeSelecter: unknown field; did you mean \"nodeSelector\"?"],
            ),
            (
                "spec:\n  containers:\n  - name: workspace\n    imagePolicy: Always\n    resources: {limit: {cpu: 1}}\n    securityContext: {runAsUsr: 1}\n",
                &[
                    "spec.containers[0].imagePolicy: unknown field; remove it",
                    "spec.containers[0].resources.limit: unknown field; did you mean \"limits\"?",
                    "spec.containers[0].securityContext.runAsUsr: unknown field; did you mean \"runAsUser\"?",
                ],
            ),
            (
                "spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpression: []}]}}}}",
                &[
                    "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpression: unknown field; did you mean \"matchExpressions\"?",
                ],
            ),
            (
                "nodeSelector: {a: b}\nspec: {}",
                &["nodeSelector: unknown field; remove it"],
            ),
            // All at once.
            (
                "spec:\n  priority: high\n  hostNetwork: \"yes\"\n  tolerations: {key: a}\n  volumes: [{emptyDir: {sizeLimit: 5GB}}]\n  nodeSelecter: {}\n",
                &[
                    "spec.volumes[0].emptyDir.sizeLimit: is \"5GB\"; did you mean \"5G\"?",
                    "spec.hostNetwork: is \"yes\"; must be true or false",
                    "spec.priority: is \"high\"; must be a whole number",
                    "spec.tolerations: is an object; must be a list",
                    "spec.nodeSelecter: unknown field; did you mean \"nodeSelector\"?",
                    "spec.volumes[0].name: is missing; give one",
                ],
            ),
            (
                "spec:\n  containers:\n  - name: workspace\n    resources: {requests: {memory: 1Gib}, limits: {cpu: 2}}\n",
                &[
                    "spec.containers[0].resources.requests.memory: is \"1Gib\"; did you mean \"1Gi\"?",
                ],
            ),
            (
                "kind: Service\nspec: {}\n",
                &["is \"Service\"; must be an object (Pod)"],
            ),
            (
                "metadata: {name: x, creationTimestamp: null}\nspec: {containers: [{name: main}, {image: busybox}]}",
                &[
                    "spec.containers[1].name: is missing; give one",
                    "metadata.name: has no effect: wsman sets it itself",
                    "spec.containers[0]: has no effect: is \"main\"; only the container \"workspace\" is merged",
                ],
            ),
            (
                "spec: [",
                &["is no YAML: line 1 column 7: unclosed bracket '['"],
            ),
            (
                "{\"spec\": }",
                &["is no JSON: expected value at line 1 column 10"],
            ),
        ] {
            let found: Vec<String> = check(text).iter().map(ToString::to_string).collect();
            assert_eq!(found, lines, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn checking_never_panics(text in "[{}a-z:\\[\\]\\- \"0-9,\n]{0,60}") {
            let _ = check(&text);
        }
    }
}
