//! Cases as JSON. What is absent is not written, and what is not written reads as absent.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Case, KnownService, Objects};
use crate::config::{Services, Timeouts};
use crate::duration::GoDuration;
use crate::index::observed::KnownNode;
use crate::workspaces::content::Content;
use crate::workspaces::decide::LifecyclePolicy;
use crate::workspaces::maintenance::FOR_EVER;
use crate::workspaces::status::Defaults;

impl Objects {
    /// Reads the members `pod`, `events`, `node` and `defaults`.
    ///
    /// # Errors
    /// Which member is not what it must be.
    pub fn read(value: &Value) -> Result<Self, String> {
        Ok(Self {
            pod: member(value, "pod")?.ok_or("it has no pod")?,
            events: member(value, "events")?.unwrap_or_default(),
            node: match &value["node"] {
                Value::String(text) if text == "gone" => KnownNode::Gone,
                _ => member(value, "node")?.map_or(KnownNode::Unknown, KnownNode::Present),
            },
            defaults: read_defaults(&value["defaults"])?,
        })
    }

    /// Returns the members that [`Objects::read`] reads.
    pub fn write(&self) -> Map<String, Value> {
        let mut members = Map::new();
        members.insert("pod".to_owned(), json!(self.pod));
        if !self.events.is_empty() {
            members.insert("events".to_owned(), json!(self.events));
        }
        match &self.node {
            KnownNode::Unknown => None,
            KnownNode::Gone => members.insert("node".to_owned(), json!("gone")),
            KnownNode::Present(node) => members.insert("node".to_owned(), json!(node)),
        };
        let defaults = write_defaults(&self.defaults);
        if !defaults.is_empty() {
            members.insert("defaults".to_owned(), defaults.into());
        }
        members
    }
}

impl Case {
    /// Reads a case: the pod that is the newest of its workspace, and what is known beside it.
    ///
    /// # Errors
    /// Which member is not what it must be.
    pub fn read(value: &Value) -> Result<Self, String> {
        let older = value["older"].as_array().into_iter().flatten();
        let members = older.chain(std::iter::once(value));
        let services = match &value["services"] {
            Value::Object(services) => Some(read_services(services)?),
            _ => None,
        };
        Ok(Self {
            members: members.map(Objects::read).collect::<Result<_, _>>()?,
            gone: value["gone"] == true,
            orphaned: value["orphaned"] == true,
            over: value["over"] == true,
            announced: value["announced"] == true,
            services,
            activity: member(value, "activity")?,
            policy: policy(&value["rules"])?,
            now: member(value, "now")?.unwrap_or_default(),
        })
    }

    /// Returns the members that [`Case::read`] reads.
    pub fn write(&self) -> Map<String, Value> {
        let mut older = self.members.iter().map(Objects::write);
        let mut members = older.next_back().unwrap_or_default();
        let older: Vec<Value> = older.map(Value::Object).collect();
        let mut put = |key: &str, value: Option<Value>| {
            members.extend(value.map(|value| (key.to_owned(), value)));
        };
        put("older", (!older.is_empty()).then_some(older.into()));
        for (key, is_so) in [
            ("gone", self.gone),
            ("orphaned", self.orphaned),
            ("over", self.over),
            ("announced", self.announced),
        ] {
            put(key, is_so.then_some(json!(true)));
        }
        put("services", self.services.as_ref().map(write_services));
        put("activity", self.activity.map(|at| json!(at)));
        let policy = write_policy(&self.policy);
        put("rules", (!policy.is_empty()).then_some(policy.into()));
        put("now", Some(json!(self.now)));
        members
    }
}

/// Reads a member; null is none.
fn member<T: DeserializeOwned>(value: &Value, key: &str) -> Result<Option<T>, String> {
    match &value[key] {
        Value::Null => Ok(None),
        member => T::deserialize(member)
            .map(Some)
            .map_err(|_| format!("{key} is not what it must be")),
    }
}

fn read_defaults(value: &Value) -> Result<Defaults, String> {
    Ok(Defaults {
        timeout: member(value, "timeout")?.unwrap_or_default(),
        closed_timeout: member(value, "closed_timeout")?.unwrap_or_default(),
        version_offset: member(value, "version_offset")?.unwrap_or_default(),
        max_recreations: member(value, "max_recreations")?.unwrap_or_default(),
    })
}

fn write_defaults(defaults: &Defaults) -> Map<String, Value> {
    let all = [
        (
            "timeout",
            json!(defaults.timeout),
            defaults.timeout.is_empty(),
        ),
        (
            "closed_timeout",
            json!(defaults.closed_timeout),
            defaults.closed_timeout.is_empty(),
        ),
        (
            "version_offset",
            json!(defaults.version_offset),
            defaults.version_offset == 0,
        ),
        (
            "max_recreations",
            json!(defaults.max_recreations),
            defaults.max_recreations == 0,
        ),
    ];
    let set = all.into_iter().filter(|(_, _, absent)| !absent);
    set.map(|(key, value, _)| (key.to_owned(), value)).collect()
}

/// Reads what the configuration says about the lifecycle.
///
/// # Errors
/// Which member is not what it must be.
pub fn policy(value: &Value) -> Result<LifecyclePolicy, String> {
    let span = |key: &str| -> Result<Option<Duration>, String> {
        let span: Option<GoDuration> = member(value, key)?;
        Ok(span.map(GoDuration::to_std))
    };
    Ok(LifecyclePolicy {
        timeouts: read_timeouts(&value["timeouts"])?,
        maintenance: match &value["maintenance"] {
            Value::Bool(on) => on.then_some(FOR_EVER),
            _ => member(value, "maintenance")?,
        },
        recreate_after: span("recreate_after")?.unwrap_or_default(),
        services: match value["services"].as_str() {
            Some("off") => Services::Off,
            Some("clusterIP") => Services::ClusterIp,
            _ => Services::Headless,
        },
        content: match value["content"].as_str() {
            Some("guest") => Content::Guest,
            Some("ws-daemon") => Content::WsDaemon,
            _ => Content::None,
        },
        has_backups: value["has_backups"] == true,
        report_stuck_after: span("report_stuck_after")?,
        announce_within: span("announce_within")?,
    })
}

fn write_policy(policy: &LifecyclePolicy) -> Map<String, Value> {
    let span = |span: Duration| {
        let nanos = i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
        json!(GoDuration::from_nanos(nanos))
    };
    let maintenance = policy.maintenance.map(|end| match end == FOR_EVER {
        true => json!(true),
        false => json!(end),
    });
    let services = match policy.services {
        Services::Off => Some(json!("off")),
        Services::Headless => None,
        Services::ClusterIp => Some(json!("clusterIP")),
    };
    let content = match policy.content {
        Content::None => None,
        Content::Guest => Some(json!("guest")),
        Content::WsDaemon => Some(json!("ws-daemon")),
    };
    let again = Some(policy.recreate_after).filter(|after| !after.is_zero());
    let all = [
        ("timeouts", policy.timeouts.as_ref().map(write_timeouts)),
        ("maintenance", maintenance),
        ("recreate_after", again.map(span)),
        ("services", services),
        ("content", content),
        ("has_backups", policy.has_backups.then_some(json!(true))),
        ("report_stuck_after", policy.report_stuck_after.map(span)),
        ("announce_within", policy.announce_within.map(span)),
    ];
    let set = all
        .into_iter()
        .filter_map(|(key, value)| Some((key.to_owned(), value?)));
    set.collect()
}

/// Reads limits; one that is not there is zero, which is none.
fn read_timeouts(value: &Value) -> Result<Option<Timeouts>, String> {
    let limit = |key: &str| member(value, key).map(Option::unwrap_or_default);
    if !value.is_object() {
        return Ok(None);
    }
    Ok(Some(Timeouts {
        after_close: limit("afterClose")?,
        headless_workspace: limit("headlessWorkspace")?,
        initialization: limit("initialization")?,
        regular_workspace: limit("regularWorkspace")?,
        max_lifetime: limit("maxLifetime")?,
        startup: limit("startup")?,
        content_finalization: limit("contentFinalization")?,
        stopping: limit("stopping")?,
        interrupted: limit("interrupted")?,
    }))
}

fn write_timeouts(limits: &Timeouts) -> Value {
    json!({
        "afterClose": limits.after_close,
        "headlessWorkspace": limits.headless_workspace,
        "initialization": limits.initialization,
        "regularWorkspace": limits.regular_workspace,
        "maxLifetime": limits.max_lifetime,
        "startup": limits.startup,
        "contentFinalization": limits.content_finalization,
        "stopping": limits.stopping,
        "interrupted": limits.interrupted,
    })
}

fn read_services(services: &Map<String, Value>) -> Result<BTreeMap<String, KnownService>, String> {
    let read = services.iter().map(|(name, service)| {
        let known = KnownService {
            headless: service["headless"] == true,
            ports: member(service, "ports")?.unwrap_or_default(),
        };
        Ok((name.clone(), known))
    });
    read.collect()
}

fn write_services(services: &BTreeMap<String, KnownService>) -> Value {
    let written = services.iter().map(|(name, known)| {
        let service = json!({"headless": known.headless, "ports": known.ports});
        (name.clone(), service)
    });
    written.collect::<Map<_, _>>().into()
}
