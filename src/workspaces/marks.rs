//! Every label, annotation and finalizer on a workspace's pod. They are a public contract: proxies, registries and
//! people read them (docs/protocol.md#labels, docs/protocol.md#annotations). Marks of wsman's own begin with
//! `wsman.dev/`.

pub mod label {
    /// Always `gitpod`.
    pub const APP: &str = "app";
    /// Always `workspace`.
    pub const COMPONENT: &str = "component";
    /// Instance id.
    pub const WORKSPACE_ID: &str = "workspaceID";
    /// Owner, or its hash if it is no label value (then see [`super::annotation::OWNER`]).
    pub const OWNER: &str = "owner";
    /// Meta id, or its hash if it is no label value (then see [`super::annotation::META_ID`]).
    pub const META_ID: &str = "metaID";
    /// Project, empty when absent.
    pub const PROJECT: &str = "project";
    /// Team, empty when absent.
    pub const TEAM: &str = "team";
    /// regular, prebuild or imagebuild.
    pub const TYPE: &str = "workspaceType";
    /// "true" for every type but regular.
    pub const HEADLESS: &str = "headless";
    /// "true" on everything that wsman lists.
    pub const MARKER: &str = "gpwsman";
    /// Effective class.
    pub const CLASS: &str = "gitpod.io/workspaceClass";
    /// Always `default`.
    pub const NETWORK_POLICY: &str = "gitpod.io/networkpolicy";
    /// "true" with FULL_WORKSPACE_BACKUP.
    pub const FULL_WORKSPACE_BACKUP: &str = "gitpod/fullWorkspaceBackup";
    /// "true" with PERSISTENT_VOLUME_CLAIM.
    pub const PVC_FEATURE: &str = "gitpod.io/pvcFeature";
    /// What a ConfigMap of wsman's keeps: `activity`.
    pub const RECORD: &str = "wsman.dev/record";
    /// `ide` or `ports`, on Services.
    pub const SERVICE_TYPE: &str = "serviceType";
}

pub mod annotation {
    /// Instance id; makes a pod a workspace. Written at creation.
    pub const ID: &str = "gitpod/id";
    /// Service prefix, or the id when the request had none. Written at creation.
    pub const SERVICE_PREFIX: &str = "gitpod/servicePrefix";
    /// URL of the workspace. Written at creation.
    pub const URL: &str = "gitpod/url";
    /// base64 of the initializer, without its secrets. Written at creation.
    pub const CONTENT_INITIALIZER: &str = "gitpod/contentInitializer";
    /// Present until the workspace is ready for the first time, on Gitpod nodes, where other programs read it.
    /// Removed by `decide`.
    pub const NEVER_READY: &str = "gitpod/never-ready";
    /// admit_owner_only or admit_everyone. Written at creation and by ControlAdmission.
    pub const ADMISSION: &str = "gitpod/admission";
    /// base64 of the ImageSpec. Written at creation.
    pub const IMAGE_SPEC: &str = "gitpod/imageSpec";
    /// Token for the owner's access. Written at creation.
    pub const OWNER_TOKEN: &str = "gitpod/ownerToken";
    /// Classic managers' mark of an unfinished start; read, never written.
    pub const ATTEMPTING_TO_CREATE: &str = "gitpod.io/attemptingToCreate";
    /// Written at creation.
    pub const APPARMOR: &str = "container.apparmor.security.beta.kubernetes.io/workspace";
    /// Written at creation: "false".
    pub const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";
    /// Go duration. Written at creation and by SetTimeout.
    pub const CUSTOM_TIMEOUT: &str = "gitpod/customTimeout";
    /// Go duration, "0" for none. Written at creation and by SetTimeout.
    pub const CUSTOM_CLOSED_TIMEOUT: &str = "gitpod/customClosedTimeout";
    /// Prefix of the caller's own annotations.
    pub const USER_PREFIX: &str = "gitpod.io/annotation.";
    /// base64 of SSHPublicKeys. Written at creation and by UpdateSSHKey.
    pub const SSH_PUBLIC_KEYS: &str = "gitpod.io/sshPublicKeys";
    /// CPU quantities of the class, with WORKSPACE_CLASS_LIMITING.
    pub const CPU_MIN_LIMIT: &str = "gitpod.io/cpuMinLimit";
    /// See [`CPU_MIN_LIMIT`].
    pub const CPU_BURST_LIMIT: &str = "gitpod.io/cpuBurstLimit";
    /// "true" with WORKSPACE_CONNECTION_LIMITING.
    pub const CONNECTION_LIMITING: &str = "gitpod.io/netConnLimitPerMinute";
    /// "true" with WORKSPACE_PSI.
    pub const PSI: &str = "gitpod.io/psi";
    /// "true" after content initialisation; from the start on plain nodes.
    pub const ALREADY_INITIALIZING: &str = "gitpod.io/alreadyInitializing";
    /// RFC 3339 of the first MarkActive.
    pub const FIRST_USER_ACTIVITY: &str = "gitpod/firstUserActivity";
    /// "true" while the user has it closed.
    pub const CLOSED: &str = "gitpod/closed";
    /// base64 of ExposedPorts; the truth for the status.
    pub const EXPOSED_PORTS: &str = "gitpod/exposedPorts";
    /// Why the workspace timed out.
    pub const TIMED_OUT: &str = "gitpod/timedout";
    /// Why the workspace failed, set explicitly.
    pub const EXPLICIT_FAIL: &str = "gitpod/explicitFail";
    /// "true" if the failure came before the stop.
    pub const FAILED_BEFORE_STOPPING: &str = "gitpod/failedBeforeStopping";
    /// URL of a prebuild's snapshot.
    pub const SNAPSHOT: &str = "gitpod/snapshot";
    /// JSON {volumeSnapshotName, volumeSnapshotHandle}. Written when the snapshot is ready.
    pub const VOLUME_SNAPSHOT: &str = "gitpod.io/volumeSnapshotName";
    /// JSON {backupFailure?, gitStatus?, status?}.
    pub const DISPOSAL_STATUS: &str = "gitpod.io/disposalStatus";
    /// Node, for when `spec.nodeName` vanished.
    pub const NODE_NAME: &str = "gitpod.io/nodeName";
    /// Grace period as a Go duration. Written by StopWorkspace.
    pub const STOPPED_BY_REQUEST: &str = "gitpod.io/stoppedByRequest";
    /// "true" if the stop was an abort. Written by StopWorkspace.
    pub const ABORT_REQUEST: &str = "gitpod.io/abortRequest";
    /// How to find out whether the workspace was ready: [`super::READY_BY_CONDITION`] on plain nodes; absent if
    /// [`NEVER_READY`] shows it. Written at creation.
    pub const READY_BY: &str = "wsman.dev/ready-by";
    /// Why a Service of the workspace was rejected. Written then, and removed when all Services exist.
    pub const SERVICES_REFUSED: &str = "wsman.dev/services-refused";
    /// Fingerprint of the start request.
    pub const SPEC_SHA256: &str = "wsman.dev/spec-sha256";
    /// Owner in full, if it is no label value.
    pub const OWNER: &str = "wsman.dev/owner";
    /// Meta id in full, if it is no label value.
    pub const META_ID: &str = "wsman.dev/meta-id";
    /// Team in full, if it is no label value.
    pub const TEAM: &str = "wsman.dev/team";
    /// Project in full, if it is no label value.
    pub const PROJECT: &str = "wsman.dev/project";
    /// Annotations that are too long for a pod and are in its Secret instead, comma separated; their keys there are
    /// in [`super::secret_key`]. Written at creation.
    pub const IN_SECRET: &str = "wsman.dev/in-secret";
    /// Longest life of this workspace, as a Go duration.
    pub const MAXIMUM_LIFETIME: &str = "wsman.dev/maximum-lifetime";
    /// Text of the first failure, so that it neither changes nor disappears. Written by `decide` before a stop.
    pub const FAILURE: &str = "wsman.dev/failure";
    /// Why a pod still exists after its grace period. Written once by `decide`.
    pub const STUCK: &str = "wsman.dev/stuck";
    /// Why a pod was deleted by force. Written once by `decide`.
    pub const FORCED: &str = "wsman.dev/forced";
    /// RFC 3339 of the last ControlPort that changed [`EXPOSED_PORTS`]; its Service may lag behind it for a moment.
    pub const PORTS_CHANGED: &str = "wsman.dev/ports-changed";
    /// How often the pod was recreated because nodes rejected it; absent for never.
    pub const RECREATIONS: &str = "wsman.dev/recreations";
    /// Name of the pod that takes the place of this one, which its node rejected. From this mark on there is no way back
    /// but a stop.
    pub const SUCCESSOR: &str = "wsman.dev/successor";
    /// uid of the first pod of the workspace, on recreated pods: it identifies the start.
    pub const FIRST_UID: &str = "wsman.dev/first-uid";
    /// When the first pod of the workspace was created, on recreated pods.
    pub const STARTED_AT: &str = "wsman.dev/started-at";
    /// RFC 3339: since when the workspace is STOPPED, although the pod has its finalizer until the message bus
    /// confirms that. Written once by `decide`, only with a message bus.
    pub const STOPPED: &str = "wsman.dev/stopped";
    /// What the store has of a workspace that was not saved at its end, as JSON ([`crate::workspaces::content::last_backup`]).
    /// Written once by the step that looks for it.
    pub const LAST_BACKUP: &str = "wsman.dev/last-backup";
    /// VolumeSnapshotClass of its volume, where the class names one. Written at creation.
    pub const SNAPSHOT_CLASS: &str = "wsman.dev/snapshot-class";
    /// The trace of the workspace's start ([`crate::workspaces::trace`]).
    pub const TRACEPARENT: &str = "wsman.dev/traceparent";
    /// The same in Jaeger's format, if the caller used that.
    pub const UBER_TRACE_ID: &str = "wsman.dev/uber-trace-id";
    /// Exposed port to its Service port, on Services.
    pub const INGRESS_PORTS: &str = "gitpod/ingressPorts";
}

/// Keys of a workspace's Secret with a fixed meaning. The others are the SHA-256 of a variable's name, or the path of
/// an initializer with a password, such as `initializer.composite.1.git` (docs/protocol.md#secret).
pub mod secret_key {
    /// The value of [`super::annotation::CONTENT_INITIALIZER`].
    pub const CONTENT_INITIALIZER: &str = "content-initializer";
    /// The value of [`super::annotation::SSH_PUBLIC_KEYS`].
    pub const SSH_PUBLIC_KEYS: &str = "ssh-public-keys";
    /// What the guest is to do (docs/protocol.md#content).
    pub const CONTENT_PLAN: &str = "content-plan";
    /// Host keys of SSH remotes.
    pub const KNOWN_HOSTS: &str = "known-hosts";
}

/// Value of [`annotation::READY_BY`]: the pod's condition Ready, now or before.
pub const READY_BY_CONDITION: &str = "condition";

/// Labels by which other programs find a workspace, on its pod and on its Services.
pub const IDENTITY: [&str; 10] = [
    label::APP,
    label::COMPONENT,
    label::WORKSPACE_ID,
    label::OWNER,
    label::META_ID,
    label::PROJECT,
    label::TEAM,
    label::TYPE,
    label::HEADLESS,
    label::CLASS,
];

/// Put on pods in debug mode; only a person takes it off.
pub const DEBUG_FINALIZER: &str = "gitpod.io/debugfinalizer";

/// Keeps a pod until its STOPPED is published; set at creation.
pub const FINALIZER: &str = "gitpod.io/finalizer";

/// Name of the workspace's container.
pub const CONTAINER: &str = "workspace";
