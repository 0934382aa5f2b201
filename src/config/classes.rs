//! `manager.workspaceClass`: parses quantities, parses and merges templates.

use std::collections::BTreeMap;

use serde_json::Value;

use super::faults::Faults;
use super::file;
use super::named_file::Contents;
use super::settings::{Class, DEFAULT_CLASS, Pvc, Resources, Templates};
use crate::json::join;
use crate::quantity::Quantity;
use crate::workspaces::{names, template};

/// Checks the classes. A class with a problem is `broken`: building its pod fails.
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
        let cpu_min_limit = self.cores(&path, &class.cpu_min).unwrap_or_default();
        self.within(&requests, &limits, cpu_min_limit.as_ref());
        let templates = self.templates(&class, files);
        self.name(&format!("{}.gitSecret", self.path), &class.git_secret);
        Class {
            requests,
            limits,
            cpu_min_limit,
            templates,
            pvc: self.pvc("pvc", class.pvc),
            prebuild_pvc: self.pvc("prebuildPVC", class.prebuild_pvc),
            backup_interval: class.backup_interval,
            git_secret: class.git_secret,
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
            let amount = match key {
                "cpu" => self.cores(&path, text),
                _ => self.bytes(&path, text),
            };
            amount.unwrap_or_else(|why| {
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

    /// Reads a quantity of memory or disk: less than a mebibyte is a wrong unit.
    fn bytes(&mut self, path: &str, text: &str) -> Result<Option<Quantity>, String> {
        let amount = self.quantity(path, text)?;
        let is_small = |amount: &Quantity| !amount.is_zero() && amount.value() < 1 << 20;
        if amount.as_ref().is_some_and(is_small) {
            let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let unit = if text.ends_with('m') { "Mi" } else { "Gi" };
            self.faults.add(
                path,
                format!("is {text:?}, less than \"1Mi\"; did you mean \"{number}{unit}\"?"),
            );
        }
        Ok(amount)
    }

    /// Reads a quantity of CPU: more than any machine has is a wrong unit.
    fn cores(&mut self, path: &str, text: &str) -> Result<Option<Quantity>, String> {
        let amount = self.quantity(path, text)?;
        if let Some(cores) = amount.as_ref().map(Quantity::value).filter(|c| *c > 10_000) {
            self.faults.add(
                path,
                format!("is {text:?}, {cores} cores; CPU is in cores, such as \"500m\" or \"2\""),
            );
        }
        Ok(amount)
    }

    /// Reads a quantity; an empty one is absent. An error is reported, and returned for further rules.
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
                self.faults
                    .add(path, format!("is {text:?}; {}", why.advice(text)));
                Err(why.to_string())
            }
        }
    }

    /// Kubernetes rejects a pod whose request exceeds its limit: every start would fail.
    fn within(&mut self, requests: &Resources, limits: &Resources, cpu_min: Option<&Quantity>) {
        let (storage, disk) = (&requests.storage, &requests.ephemeral_storage);
        for (key, low, high_key, high) in [
            (
                "requests.cpu",
                requests.cpu.as_ref(),
                "limits.cpu.burst",
                &limits.cpu,
            ),
            ("limits.cpu.min", cpu_min, "limits.cpu.burst", &limits.cpu),
            (
                "requests.memory",
                requests.memory.as_ref(),
                "limits.memory",
                &limits.memory,
            ),
            (
                "requests.ephemeral-storage",
                disk.as_ref(),
                "limits.ephemeral-storage",
                &limits.ephemeral_storage,
            ),
            (
                "requests.storage",
                storage.as_ref(),
                "limits.storage",
                &limits.storage,
            ),
        ] {
            if let (Some(low), Some(high)) = (low, high)
                && !high.is_zero()
                && low > high
            {
                self.faults.add(
                    format!("{}.container.{key}", self.path),
                    format!("is {low}; must not be more than {high_key}, which is {high}"),
                );
            }
        }
    }

    fn templates(&mut self, class: &file::Class, files: &Contents) -> Templates {
        let default = template_of(&class.default_path, files);
        let mut merged = |key: &str, path: &str| {
            let own = template_of(path, files);
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
                        "is merged into the template of defaultPath, which is absent; give that, too",
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

    /// Checks the name of an object, if there is one.
    fn name(&mut self, path: &str, name: &str) {
        self.faults.unless(
            name.is_empty() || names::is_dns_subdomain(name),
            path,
            format!("is {name:?}; a name has lower-case letters, digits, '-' and '.'"),
        );
    }

    fn pvc(&mut self, key: &str, pvc: file::Pvc) -> Pvc {
        let path = format!("{}.{key}", self.path);
        let size_path = format!("{path}.size");
        let size = self.bytes(&size_path, &pvc.size).unwrap_or_default();
        if size.as_ref().is_some_and(Quantity::is_zero) {
            let why = "is 0; a volume needs a size, such as \"30Gi\"";
            self.faults.add(size_path, why);
        }
        self.name(&format!("{path}.storageClass"), &pvc.storage_class);
        self.name(&format!("{path}.snapshotClass"), &pvc.snapshot_class);
        Pvc {
            size,
            storage_class: pvc.storage_class,
            snapshot_class: pvc.snapshot_class,
        }
    }
}

/// Reads a template; none without a path. Its problems are reported with those of all files.
fn template_of(path: &str, files: &Contents) -> Result<Option<Value>, String> {
    if path.is_empty() {
        return Ok(None);
    }
    let text = match files.get(path) {
        Some(text) => text.clone(),
        None => Err("was not looked for".to_owned()),
    };
    let template = text.and_then(|text| template::read(&text));
    template.map(Some).map_err(|why| format!("{path}: {why}"))
}
