//! `manager.workspaceClass`: quantities are parsed, templates read and merged.

use std::collections::BTreeMap;

use serde_json::Value;

use super::check::Faults;
use super::fields::join;
use super::file;
use super::{Claim, Class, Contents, DEFAULT_CLASS, Problem, Resources, Templates};
use crate::quantity::Quantity;
use crate::workspaces::{names, template};

/// Checks the classes. A fault leaves a class `broken`, which says so when a pod is built.
pub(super) fn classes(
    given: BTreeMap<String, file::Class>,
    files: &Contents,
    faults: &mut Faults,
) -> BTreeMap<String, Class> {
    if !given.contains_key(DEFAULT_CLASS) {
        faults.add(
            "manager.workspaceClass",
            "has no class \"default\"; add it: requests without a class get it",
        );
    }
    given
        .into_iter()
        .map(|(id, class)| {
            let path = join("manager.workspaceClass", &id);
            if id.is_empty() || !names::is_label_value(&id) {
                faults.add(
                    &path,
                    "the id of a class must be a label value: at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
                );
            }
            let class = Reader {
                path,
                broken: None,
                faults,
            }
            .class(class, files);
            (id, class)
        })
        .collect()
}

/// Reads one class.
struct Reader<'a> {
    path: String,
    broken: Option<String>,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn class(mut self, class: file::Class, files: &Contents) -> Class {
        let requests = self.resources("requests", &class.requests);
        let limits = self.resources("limits", &class.limits);
        let path = format!("{}.container.limits.cpu.min", self.path);
        let cpu_min_limit = self.quantity(&path, &class.cpu_min).unwrap_or_default();
        self.requests_within(&requests, &limits);
        let templates = self.templates(&class, files);
        Class {
            requests,
            limits,
            cpu_min_limit,
            templates,
            pvc: self.claim("pvc", class.pvc),
            prebuild_pvc: self.claim("prebuildPVC", class.prebuild_pvc),
            name: class.name,
            description: class.description,
            // Prices are small; the wire has 32 bits for them.
            #[allow(clippy::cast_possible_truncation)]
            credits_per_minute: class.credits_per_minute as f32,
            broken: self.broken,
        }
    }

    fn resources(&mut self, part: &str, amounts: &file::Amounts) -> Resources {
        let mut get = |key: &str, text: &str| {
            let key_path = match (part, key) {
                ("limits", "cpu") => "cpu.burst",
                _ => key,
            };
            let path = format!("{}.container.{part}.{key_path}", self.path);
            self.quantity(&path, text).unwrap_or_else(|why| {
                self.broken.get_or_insert_with(|| {
                    format!(
                        "cannot create workspace pod: cannot create definite workspace pod: \
                         cannot parse workspace container {part}: {key}: {why}"
                    )
                });
                None
            })
        };
        Resources {
            cpu: get("cpu", &amounts.cpu),
            memory: get("memory", &amounts.memory),
            ephemeral_storage: get("ephemeral-storage", &amounts.ephemeral_storage),
            storage: get("storage", &amounts.storage),
        }
    }

    /// Reads a quantity; an empty one is absent. A fault is reported, and returned for those who need to know.
    fn quantity(&mut self, path: &str, text: &str) -> Result<Option<Quantity>, String> {
        if text.is_empty() {
            return Ok(None);
        }
        match Quantity::parse(text) {
            Ok(quantity) if quantity.is_negative() => {
                self.faults
                    .add(path, format!("is {text:?}; must not be negative"));
                Ok(None)
            }
            Ok(quantity) => Ok(Some(quantity)),
            Err(why) => {
                self.faults.add(
                    path,
                    format!("is {text:?}; {why}; give a quantity such as \"500m\" or \"2Gi\""),
                );
                Err(why.to_string())
            }
        }
    }

    /// Kubernetes refuses a pod that requests more than its limit: every start would fail.
    fn requests_within(&mut self, requests: &Resources, limits: &Resources) {
        for (key, request, limit) in [
            ("cpu", &requests.cpu, &limits.cpu),
            ("memory", &requests.memory, &limits.memory),
            (
                "ephemeral-storage",
                &requests.ephemeral_storage,
                &limits.ephemeral_storage,
            ),
        ] {
            if let (Some(request), Some(limit)) = (request, limit)
                && !limit.is_zero()
                && request > limit
            {
                self.faults.add(
                    format!("{}.container.requests.{key}", self.path),
                    format!(
                        "is {request}, more than the limit of {limit}; Kubernetes refuses such pods"
                    ),
                );
            }
        }
    }

    fn templates(&mut self, class: &file::Class, files: &Contents) -> Templates {
        let default = self.template("defaultPath", &class.default_path, files);
        let mut merged = |key: &str, path: &str| {
            let own = self.template(key, path, files);
            match (default.clone(), own) {
                (Err(why), _) => Err(format!(
                    "cannot read pod template - this is a configuration problem: {why}"
                )),
                (_, Err(why)) => Err(format!(
                    "cannot read type-specific pod template - this is a configuration problem: {why}"
                )),
                (Ok(default), Ok(None)) => Ok(default.unwrap_or(Value::Null)),
                (Ok(None), Ok(Some(_))) => {
                    let why = "cannot apply type-specific pod template: definite pod cannot be nil";
                    self.faults.add(
                        format!("{}.templates.{key}", self.path),
                        format!("{why}; give templates.defaultPath too"),
                    );
                    Err(why.to_owned())
                }
                (Ok(Some(default)), Ok(Some(own))) => Ok(template::merge(default, own)),
            }
            .inspect(|template| {
                if let Some(what) = template::clash(template) {
                    let key = if path.is_empty() { "defaultPath" } else { key };
                    self.faults.add(
                        format!("{}.templates.{key}", self.path),
                        format!("{what} in the pod that the templates make; rename one"),
                    );
                }
            })
        };
        Templates {
            regular: merged("regularPath", &class.regular_path),
            prebuild: merged("prebuildPath", &class.prebuild_path),
            imagebuild: merged("imagebuildPath", &class.imagebuild_path),
        }
    }

    fn template(
        &mut self,
        key: &str,
        path: &str,
        files: &Contents,
    ) -> Result<Option<Value>, String> {
        if path.is_empty() {
            return Ok(None);
        }
        let text = match files.get(path) {
            Some(text) => text.clone(),
            None => Err("was not looked for".to_owned()),
        };
        let template = text.and_then(|text| template::read(&text));
        if let Err(why) = &template {
            self.faults.push(Problem {
                file: Some(path.to_owned()),
                ..Problem::error(format!("{}.templates.{key}", self.path), why)
            });
        }
        template.map(Some).map_err(|why| format!("{path}: {why}"))
    }

    fn claim(&mut self, key: &str, claim: file::Claim) -> Claim {
        let path = format!("{}.{key}.size", self.path);
        Claim {
            size: self.quantity(&path, &claim.size).unwrap_or_default(),
            storage_class: claim.storage_class,
            snapshot_class: claim.snapshot_class,
        }
    }
}
