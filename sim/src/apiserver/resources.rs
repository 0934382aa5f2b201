//! The kinds of the embedded API server, as one table, and their selectable fields.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use k8s_openapi::api::{
    coordination::v1::Lease,
    core::v1::{
        ConfigMap, Endpoints, Event, Namespace, Node, PersistentVolumeClaim, Pod, Secret, Service,
        ServiceAccount,
    },
    discovery::v1::EndpointSlice,
    policy::v1::PodDisruptionBudget,
    scheduling::v1::PriorityClass,
};

use super::snapshots::{self, VolumeSnapshot, VolumeSnapshotClass, VolumeSnapshotContent};

/// One kind of object and how the server treats it.
#[derive(Debug)]
pub(crate) struct Resource {
    /// Empty for the core group.
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    pub(crate) short: &'static [&'static str],
    pub(crate) namespaced: bool,
    /// `status` is a subresource: the main resource ignores changes to it, and the other way round.
    pub(crate) has_status: bool,
    /// PUT of a name that does not exist creates the object.
    pub(crate) create_on_update: bool,
    /// PUT without a resourceVersion replaces any version.
    pub(crate) unconditional_update: bool,
    /// Decodes into the Go-equivalent type and back: drops unknown fields, rejects wrong types.
    pub(crate) canonical: fn(Value) -> Result<Value, String>,
}

/// Position of a resource in [`RESOURCES`], the key of everything stored by kind.
pub(crate) type Index = usize;

/// Every kind, namespaces first: other code looks them up by these constants.
pub(crate) static RESOURCES: &[Resource] = &[
    Resource {
        short: &["ns"],
        has_status: true,
        ..cluster::<Namespace>("Namespace", "namespaces", "namespace")
    },
    Resource {
        short: &["po"],
        has_status: true,
        ..core::<Pod>("Pod", "pods", "pod")
    },
    Resource {
        short: &["svc"],
        has_status: true,
        create_on_update: true,
        ..core::<Service>("Service", "services", "service")
    },
    core::<Secret>("Secret", "secrets", "secret"),
    Resource {
        short: &["no"],
        has_status: true,
        ..cluster::<Node>("Node", "nodes", "node")
    },
    Resource {
        short: &["cm"],
        ..core::<ConfigMap>("ConfigMap", "configmaps", "configmap")
    },
    Resource {
        short: &["ev"],
        create_on_update: true,
        ..core::<Event>("Event", "events", "event")
    },
    Resource {
        short: &["sa"],
        ..core::<ServiceAccount>("ServiceAccount", "serviceaccounts", "serviceaccount")
    },
    Resource {
        short: &["ep"],
        create_on_update: true,
        ..core::<Endpoints>("Endpoints", "endpoints", "endpoints")
    },
    Resource {
        short: &["pvc"],
        has_status: true,
        ..core::<PersistentVolumeClaim>(
            "PersistentVolumeClaim",
            "persistentvolumeclaims",
            "persistentvolumeclaim",
        )
    },
    Resource {
        group: "coordination.k8s.io",
        create_on_update: true,
        unconditional_update: false,
        ..core::<Lease>("Lease", "leases", "lease")
    },
    Resource {
        group: "discovery.k8s.io",
        ..core::<EndpointSlice>("EndpointSlice", "endpointslices", "endpointslice")
    },
    Resource {
        group: "policy",
        short: &["pdb"],
        has_status: true,
        unconditional_update: false,
        ..core::<PodDisruptionBudget>(
            "PodDisruptionBudget",
            "poddisruptionbudgets",
            "poddisruptionbudget",
        )
    },
    Resource {
        group: "scheduling.k8s.io",
        short: &["pc"],
        ..cluster::<PriorityClass>("PriorityClass", "priorityclasses", "priorityclass")
    },
    Resource {
        group: snapshots::GROUP,
        short: &["vs"],
        has_status: true,
        ..core::<VolumeSnapshot>("VolumeSnapshot", "volumesnapshots", "volumesnapshot")
    },
    Resource {
        group: snapshots::GROUP,
        short: &["vsc", "vscs"],
        has_status: true,
        ..cluster::<VolumeSnapshotContent>(
            "VolumeSnapshotContent",
            "volumesnapshotcontents",
            "volumesnapshotcontent",
        )
    },
    Resource {
        group: snapshots::GROUP,
        short: &["vsclass", "vsclasses"],
        ..cluster::<VolumeSnapshotClass>(
            "VolumeSnapshotClass",
            "volumesnapshotclasses",
            "volumesnapshotclass",
        )
    },
];

pub(crate) const NAMESPACES: Index = 0;
pub(crate) const PODS: Index = 1;
pub(crate) const SERVICES: Index = 2;
pub(crate) const SECRETS: Index = 3;
pub(crate) const NODES: Index = 4;
pub(crate) const EVENTS: Index = 6;
pub(crate) const CLAIMS: Index = 9;

const fn core<T: DeserializeOwned + Serialize>(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
) -> Resource {
    Resource {
        group: "",
        kind,
        plural,
        singular,
        short: &[],
        namespaced: true,
        has_status: false,
        create_on_update: false,
        unconditional_update: true,
        canonical: canonical::<T>,
    }
}

const fn cluster<T: DeserializeOwned + Serialize>(
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
) -> Resource {
    Resource {
        namespaced: false,
        ..core::<T>(kind, plural, singular)
    }
}

fn canonical<T: DeserializeOwned + Serialize>(value: Value) -> Result<Value, String> {
    let typed: T = serde_json::from_value(value).map_err(|error| error.to_string())?;
    serde_json::to_value(typed).map_err(|error| error.to_string())
}

impl Resource {
    /// Whether a definition adds it to the server: it has no strategic merge patch.
    pub(crate) fn is_custom(&self) -> bool {
        self.group == snapshots::GROUP
    }

    /// The group's only version; every group served here is stable.
    pub(crate) const VERSION: &'static str = "v1";

    /// `v1` or `group/v1`.
    pub(crate) fn api_version(&self) -> String {
        match self.group {
            "" => Self::VERSION.into(),
            group => format!("{group}/{}", Self::VERSION),
        }
    }

    /// `pods` or `leases.coordination.k8s.io`, as in messages.
    pub(crate) fn qualified(&self) -> String {
        match self.group {
            "" => self.plural.into(),
            group => format!("{}.{group}", self.plural),
        }
    }

    /// The key of an object in its collection; the order of keys is the order of a list.
    pub(crate) fn key(&self, namespace: &str, name: &str) -> String {
        if self.namespaced {
            format!("{namespace}/{name}")
        } else {
            name.into()
        }
    }
}

/// The resource of a path.
pub(crate) fn find(group: &str, plural: &str) -> Option<(Index, &'static Resource)> {
    RESOURCES
        .iter()
        .enumerate()
        .find(|(_, resource)| resource.group == group && resource.plural == plural)
}

/// The resource by apiVersion and kind, as owner references name it.
pub(crate) fn by_kind(api_version: &str, kind: &str) -> Option<(Index, &'static Resource)> {
    RESOURCES
        .iter()
        .enumerate()
        .find(|(_, resource)| resource.kind == kind && resource.api_version() == api_version)
}

/// The value of a selectable field, or None if the kind has no such field.
pub(crate) fn selectable(index: Index, object: &Value, field: &str) -> Option<String> {
    let known: &[&str] = match index {
        PODS => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
        EVENTS => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        SERVICES => &["spec.clusterIP", "spec.type"],
        SECRETS => &["type"],
        NODES => &["spec.unschedulable"],
        NAMESPACES => &["status.phase"],
        _ => &[],
    };
    let always =
        field == "metadata.name" || (field == "metadata.namespace" && RESOURCES[index].namespaced);
    if !always && !known.contains(&field) {
        return None;
    }
    if index == EVENTS && field == "source" {
        let text = |pointer| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
        };
        return Some(
            text("/source/component")
                .or(text("/reportingComponent"))
                .unwrap_or_default()
                .into(),
        );
    }
    let pointer = format!("/{}", field.replace('.', "/"));
    Some(match object.pointer(&pointer) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Bool(set)) => set.to_string(),
        // The selectable form of an absent boolean is "false".
        None if matches!(field, "spec.hostNetwork" | "spec.unschedulable") => "false".into(),
        _ => String::new(),
    })
}
