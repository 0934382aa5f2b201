//! Cases as JSON. What is absent is not written, and what is not written reads as absent.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::{Case, KnownNode, KnownService, Objects};
use crate::action::RecordRef;
use crate::config::{Services, Timeouts};
use crate::duration::GoDuration;
use crate::workspaces::decide::{Content, LifecyclePolicy};
use crate::workspaces::maintenance::FOR_EVER;
use crate::workspaces::recreate::{Lineage, Record};
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
    /// Reads a case; only a pod or a record must be there.
    ///
    /// # Errors
    /// Which member is not what it must be.
    pub fn read(value: &Value) -> Result<Self, String> {
        let objects = match &value["pod"] {
            Value::Null => None,
            _ => Some(Objects::read(value)?),
        };
        let marks = objects.as_ref().map(|objects| Lineage::of(&objects.pod));
        let record = match &value["record"] {
            Value::Null => None,
            record => Some(read_record(record, marks.unwrap_or_default().marks)?),
        };
        if objects.is_none() && record.is_none() {
            return Err("it has neither pod nor record".to_owned());
        }
        let services = match &value["services"] {
            Value::Object(services) => Some(read_services(services)?),
            _ => None,
        };
        Ok(Self {
            objects,
            last: member(value, "last")?,
            record,
            services,
            activity: member(value, "activity")?,
            announced: value["announced"] == true,
            policy: policy(&value["rules"])?,
            now: member(value, "now")?.unwrap_or_default(),
        })
    }

    /// Returns the members that [`Case::read`] reads.
    pub fn write(&self) -> Map<String, Value> {
        let mut members = self
            .objects
            .as_ref()
            .map(Objects::write)
            .unwrap_or_default();
        let mut put = |key: &str, value: Option<Value>| {
            members.extend(value.map(|value| (key.to_owned(), value)));
        };
        let marks = self
            .objects
            .as_ref()
            .map(|objects| Lineage::of(&objects.pod).marks);
        let record = self.record.as_ref();
        put(
            "record",
            record.map(|record| write_record(record, marks.as_deref())),
        );
        put("services", self.services.as_ref().map(write_services));
        put("last", self.last.as_ref().map(|last| json!(last)));
        put("activity", self.activity.map(|at| json!(at)));
        put("announced", self.announced.then_some(json!(true)));
        let policy = write_rules(&self.policy);
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
            Some("ws-daemon") => Content::WsDaemon,
            _ => Content::None,
        },
        report_stuck_after: span("report_stuck_after")?,
        announce_within: span("announce_within")?,
    })
}

fn write_rules(policy: &LifecyclePolicy) -> Map<String, Value> {
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
    let content = (policy.content == Content::WsDaemon).then_some(json!("ws-daemon"));
    let again = Some(policy.recreate_after).filter(|after| !after.is_zero());
    let all = [
        ("timeouts", policy.timeouts.as_ref().map(write_timeouts)),
        ("maintenance", maintenance),
        ("recreate_after", again.map(span)),
        ("services", services),
        ("content", content),
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

/// The fingerprint of marks says nothing once they are redacted: what counts is whether it is that of the pod, `marks`.
fn read_record(value: &Value, marks: String) -> Result<Record, String> {
    let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
    Ok(Record {
        at: RecordRef {
            name: text("name"),
            uid: text("uid"),
        },
        version: member(value, "version")?.unwrap_or_default(),
        created: member(value, "created")?,
        pod: member(value, "pod")?.ok_or("record has no pod")?,
        marks: match value["other_marks"] == true {
            true => "other".to_owned(),
            false => marks,
        },
        run: text("run"),
        owned: value["owned"] == true,
        ends: member(value, "ends")?.unwrap_or_default(),
        over: value["over"] == true,
    })
}

fn write_record(record: &Record, marks: Option<&str>) -> Value {
    let created: Option<Timestamp> = record.created;
    json!({
        "name": record.at.name,
        "uid": record.at.uid,
        "version": record.version,
        "created": created,
        "pod": record.pod,
        "other_marks": marks.is_some_and(|marks| marks != record.marks),
        "run": record.run,
        "owned": record.owned,
        "ends": record.ends,
        "over": record.over,
    })
}
