//! What the daemon asks for: the plan file, checked when it is read.

pub mod initializer;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Deserializer};
use wsman_store::manifest::Kind;
use wsman_store::settings::StoreSettings;

use crate::archive::Limits;
pub use initializer::Initializer;

/// One workspace's content: where it comes from and where it is kept.
#[derive(Clone, Debug, Deserialize)]
pub struct Plan {
    version: u32,
    pub instance: String,
    pub owner: String,
    pub workspace: String,
    /// The workspace: where it is mounted, the command line says.
    #[serde(skip)]
    pub root: PathBuf,
    #[serde(default)]
    pub initializer: Initializer,
    #[serde(default)]
    pub git: GitSettings,
    #[serde(default)]
    pub download: DownloadSettings,
    #[serde(default)]
    limits: PlanLimits,
    /// Without one nothing can be saved or restored.
    pub store: Option<StoreSettings>,
    /// Without it nothing is saved.
    pub save: Option<SaveSettings>,
    /// Where the secrets lie: beside the plan.
    #[serde(skip)]
    pub secrets: PathBuf,
}

/// How Git reaches its remotes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct GitSettings {
    /// Name of a file beside the plan.
    pub ssh_key: Option<String>,
    /// Name of a file beside the plan.
    pub known_hosts: Option<String>,
    /// Name of a file beside the plan, which may be absent: more of them.
    pub more_known_hosts: Option<String>,
    /// Whether the key of a host that nobody knows is accepted.
    pub accept_new_host_keys: bool,
    /// Beginnings of URLs and what takes their place.
    pub instead_of: BTreeMap<String, String>,
    pub allow_file_remotes: bool,
    pub full_clone: bool,
}

/// What downloads may do.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct DownloadSettings {
    /// Of all files of one step.
    pub max_bytes: u64,
    /// Hosts that redirects may lead to, and that may have loopback and link-local addresses.
    pub allow_hosts: Vec<String>,
}

impl Default for DownloadSettings {
    fn default() -> Self {
        Self {
            max_bytes: 10_737_418_240,
            allow_hosts: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default)]
struct PlanLimits {
    max_bytes: u64,
    max_files: u64,
}

impl Default for PlanLimits {
    fn default() -> Self {
        let Limits {
            max_bytes,
            max_files,
        } = Limits::default();
        Self {
            max_bytes,
            max_files,
        }
    }
}

/// When backups are made and how many stay.
#[derive(Clone, Debug, Deserialize)]
pub struct SaveSettings {
    /// Between two backups of a running workspace; without it only the end is saved.
    #[serde(default, deserialize_with = "optional_duration")]
    pub interval: Option<Duration>,
    /// What the last backup may take.
    #[serde(deserialize_with = "duration")]
    pub final_timeout: Duration,
    #[serde(default = "default_keep")]
    pub keep: usize,
    /// What the last save is kept as.
    #[serde(default = "default_kind")]
    pub kind: Kind,
    /// How long the other containers may take to end before the last save begins without their end.
    #[serde(default = "default_share", deserialize_with = "duration")]
    pub main_share: Duration,
}

fn default_kind() -> Kind {
    Kind::Backup
}

fn default_share() -> Duration {
    Duration::from_secs(30)
}

/// Why a plan cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("cannot read the plan {0}: {1}")]
    Read(String, std::io::Error),
    #[error("the plan {0} is not understood: {1}")]
    Syntax(String, serde_json::Error),
    #[error("the plan has version {0}; this guest knows version 1")]
    Version(u32),
    #[error("the plan's {field} is {value:?}: {why}")]
    Field {
        field: &'static str,
        value: String,
        why: &'static str,
    },
}

impl Plan {
    pub fn read(path: &Path, root: &Path) -> Result<Self, PlanError> {
        let name = || path.display().to_string();
        let text = std::fs::read(path).map_err(|error| PlanError::Read(name(), error))?;
        let mut plan: Plan =
            serde_json::from_slice(&text).map_err(|error| PlanError::Syntax(name(), error))?;
        plan.secrets = path.parent().unwrap_or(Path::new("/")).to_owned();
        plan.root = root.to_owned();
        plan.check()?;
        Ok(plan)
    }

    fn check(&self) -> Result<(), PlanError> {
        if self.version != 1 {
            return Err(PlanError::Version(self.version));
        }
        let refused = |field, value: &str, why| {
            Err(PlanError::Field {
                field,
                value: value.to_owned(),
                why,
            })
        };
        for (field, value) in [("owner", &self.owner), ("workspace", &self.workspace)] {
            if value.is_empty() {
                return refused(field, value, "it must not be empty");
            }
        }
        if self.save.as_ref().is_some_and(|save| save.keep == 0) {
            return refused("save.keep", "0", "at least one backup must stay");
        }
        if self.save.is_some() && self.store.is_none() {
            return refused("save", "set", "there is no store to save to");
        }
        self.initializer
            .check(0)
            .or_else(|(field, value, why)| refused(field, &value, why))
    }

    pub fn limits(&self) -> Limits {
        let PlanLimits {
            max_bytes,
            max_files,
        } = self.limits;
        Limits {
            max_bytes,
            max_files,
        }
    }

    /// Path of the secret that a field of the plan names; only plain names beside the plan are.
    pub fn secret(&self, name: &str) -> Result<PathBuf, PlanError> {
        let plain = !name.is_empty() && !name.contains('/') && !name.starts_with('.');
        if !plain {
            let why = "it must be the name of a file beside the plan";
            return Err(PlanError::Field {
                field: "secret",
                value: name.to_owned(),
                why,
            });
        }
        Ok(self.secrets.join(name))
    }
}

fn default_keep() -> usize {
    3
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        serde::de::Error::custom(format!("{text:?} is no duration such as \"10m0s\""))
    })
}

fn optional_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| {
        parse_duration(&text)
            .filter(|duration| !duration.is_zero())
            .ok_or_else(|| {
                serde::de::Error::custom(format!("{text:?} is no duration such as \"10m0s\""))
            })
    })
    .transpose()
}

/// A duration as Go writes it: numbers with units, such as `1h10m0.5s`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    if rest == "0" {
        return Some(total);
    }
    while !rest.is_empty() || text.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit = rest
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(rest.len());
        let seconds = match &rest[..unit] {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        rest = &rest[unit..];
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Plan, PlanError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("plan.json");
        std::fs::write(&path, text).unwrap();
        Plan::read(&path, Path::new("/workspace"))
    }

    #[test]
    fn reads_the_plan_of_the_contract() {
        let plan = read(
            r#"{"version":1,"instance":"i","owner":"o","workspace":"w",
            "initializer":{"prebuild":{"prebuild":{"snapshot":"o/w/0000000001-snapshot.json@b"},
              "git":[{"remote_uri":"https://host/x","upstream_Remote_uri":"https://host/y",
                "target_mode":"REMOTE_BRANCH","clone_taget":"main","checkout_location":"x","full_clone":true,
                "config":{"custom_config":{"a.b":"c"},"authentication":"BASIC_AUTH","auth_user":"u",
                          "auth_password":"extracted-secret/initializer.git"}}]}},
            "git":{"instead_of":{"git@github.com:":"https://github.com/"}},
            "limits":{"max_bytes":1,"max_files":2},
            "store":{"s3":{"bucket":"b","allow_http":true}},
            "save":{"interval":"10m0s","final_timeout":"60m0s","keep":3}}"#,
        )
        .unwrap();
        assert_eq!(
            plan.limits(),
            Limits {
                max_bytes: 1,
                max_files: 2
            }
        );
        assert_eq!(plan.save.unwrap().interval, Some(Duration::from_secs(600)));
        let Some(initializer::Spec::Prebuild(prebuild)) = plan.initializer.spec() else {
            panic!("no prebuild");
        };
        assert_eq!(
            prebuild.git[0].target_mode,
            initializer::TargetMode::RemoteBranch
        );
    }

    #[test]
    fn says_which_field_is_wrong() {
        let with = |more: &str| {
            let text =
                format!(r#"{{"version":1,"instance":"i","owner":"o","workspace":"w"{more}}}"#);
            read(&text).map(|_| ()).unwrap_err().to_string()
        };
        let cases = [
            (
                r#","save":{"final_timeout":"1s"}"#,
                r#"the plan's save is "set": there is no store to save to"#,
            ),
            (
                r#","store":{"local":{"path":"/x"}},"save":{"final_timeout":"1s","keep":0}"#,
                r#"the plan's save.keep is "0": at least one backup must stay"#,
            ),
            (
                r#","initializer":{"empty":{},"git":{}}"#,
                r#"the plan's initializer is "empty, git": only one kind may be set"#,
            ),
        ];
        for (more, why) in cases {
            assert_eq!(with(more), why);
        }
        let error = with(r#","store":{"local":{"path":"/x"}},"save":{"final_timeout":"soon"}"#);
        assert!(error.contains(r#""soon" is no duration"#), "{error}");
        let error = with(r#","initializer":{"git":{"target_mode":"SIDEWAYS"}}"#);
        assert!(error.contains("SIDEWAYS"), "{error}");
        let error = read(r#"{"version":2,"instance":"","owner":"o","workspace":"w"}"#);
        assert_eq!(
            error.unwrap_err().to_string(),
            "the plan has version 2; this guest knows version 1"
        );
    }

    #[test]
    fn durations_are_those_of_go() {
        for (text, millis) in [("10m0s", 600_000), ("1h0m0.5s", 3_600_500), ("250ms", 250)] {
            assert_eq!(
                parse_duration(text),
                Some(Duration::from_millis(millis)),
                "{text}"
            );
        }
        for text in ["", "10", "s", "1d", "-1s"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
