//! Every start that is accepted is accepted by the API server too: the daemon never plans what the API server rejects,
//! reads what was planned, and finds it by its id alone.

use std::sync::LazyLock;

use proptest::prelude::*;
use prost::Message;
use serde_json::{Value, json};
use wsman::action::Dependant;
use wsman::config::{self, Manager, Severity};
use wsman::error::Error;
use wsman::objects::Pod;
use wsman::proto::contentservice::{self as content, workspace_initializer::Spec};
use wsman::proto::wsman::*;
use wsman::quantity::Quantity;
use wsman::workspaces::case::Objects;
use wsman::workspaces::plan::{self, Plan, Tokens};
use wsman::workspaces::{id, request};
use wsman_sim::apiserver::rules;

/// Texts that break parsers, and some that do not.
const TEXTS: [&str; 45] = [
    "",
    "a",
    "0",
    "A",
    "-",
    "a-",
    "a.b",
    "a_b",
    "..",
    "../x",
    "/workspace",
    "a/b",
    "a,b=c",
    "!x",
    "a=b",
    "a\nb",
    "a\0",
    "\u{7f}",
    "\u{e4}",
    "\u{202e}x",
    "$(HOME)",
    "$$(HOME)",
    "{{ .ID }}",
    "%2e%2e",
    "javascript:alert(1)",
    "1h30m",
    "-1h",
    "0",
    "2562047h47m16.854775807s",
    "1e400",
    "registry.example.com/x:1",
    "x@sha256:0123",
    "[::1]:5000/x",
    "default",
    "large",
    "gitpod/id",
    "gitpod.io/finalizer",
    "wsman.dev/spec-sha256",
    "sim.wsman.dev/reject",
    "THEIA_SUPERVISOR_TOKENS",
    "GITPOD_HOST",
    "PATH",
    "xn--0",
    "ssh-ed25519 AAAA jane@example.com",
    "tools",
];

fn text() -> impl Strategy<Value = String> {
    let lengths = vec![
        63,
        64,
        253,
        254,
        1024,
        4096,
        4097,
        32 << 10,
        64 << 10,
        128 << 10,
    ];
    prop_oneof![
        8 => prop::sample::select(TEXTS.to_vec()).prop_map(str::to_owned),
        4 => "[a-z0-9]([a-z0-9-]{0,40}[a-z0-9])?",
        2 => "[a-z0-9]{50,70}",
        2 => "[A-Za-z_][A-Za-z0-9_.-]{0,12}",
        2 => ".{0,12}",
        1 => ("[ -~]", prop::sample::select(lengths)).prop_map(|(c, n)| c.repeat(n)),
    ]
}

/// One change of a request: a field, and values for it.
type Edit = (u8, String, String, i32);

fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((any::<u8>(), text(), text(), number()), 0..5)
}

fn number() -> impl Strategy<Value = i32> {
    prop_oneof![
        0..12i32,
        prop::sample::select(vec![
            -1,
            22,
            22_999,
            23_000,
            65_535,
            65_536,
            i32::MAX,
            i32::MIN
        ])
    ]
}

fn good() -> StartWorkspaceRequest {
    StartWorkspaceRequest {
        id: "heron".to_owned(),
        service_prefix: "heron".to_owned(),
        metadata: Some(WorkspaceMetadata {
            owner: "jane".to_owned(),
            meta_id: "m".to_owned(),
            ..Default::default()
        }),
        spec: Some(StartWorkspaceSpec {
            workspace_image: "registry.example.com/x:1".to_owned(),
            workspace_location: "/workspace".to_owned(),
            initializer: Some(content::WorkspaceInitializer {
                spec: Some(Spec::Empty(Default::default())),
            }),
            ..Default::default()
        }),
        r#type: 0,
    }
}

#[allow(deprecated)] // Clients of the classic manager still send the old fields.
fn edit(request: &mut StartWorkspaceRequest, (field, a, b, n): Edit) {
    let secret = EnvironmentVariable::default().secret;
    let variable = EnvironmentVariable {
        name: a.clone(),
        value: b.clone(),
        secret,
    };
    let meta = request.metadata.get_or_insert_default();
    let spec = request.spec.get_or_insert_default();
    match field % 27 {
        0 => request.id = a,
        1 => request.service_prefix = a,
        2 => request.r#type = n,
        3 => meta.owner = a,
        4 => meta.meta_id = a,
        5 => meta.team = Some(a),
        6 => meta.project = Some(a),
        7 => drop(meta.annotations.insert(a, b)),
        8 => spec.workspace_image = a,
        9 => spec.workspace_location = a,
        10 => spec.class = a,
        11 => spec.timeout = a,
        12 => spec.closed_timeout = a,
        13 => spec.maximum_lifetime = a,
        14 => spec.ports.push(PortSpec {
            port: n.unsigned_abs(),
            visibility: n % 3,
            protocol: n % 4,
            target: n.unsigned_abs() / 2,
            url: a,
        }),
        15 => spec.envvars.push(variable),
        16 => spec.sys_envvars.push(variable),
        17 => spec.envvars.push(EnvironmentVariable {
            name: "FROM_SECRET".to_owned(),
            value: String::new(),
            secret: Some(environment_variable::SecretKeyRef {
                secret_name: a,
                key: b,
            }),
        }),
        18 => spec.ssh_public_keys.push(a),
        19 => {
            spec.git = Some(GitSpec {
                username: a,
                email: b,
            })
        }
        20 => {
            spec.ide_image = Some(IdeImage {
                web_ref: a,
                supervisor_ref: b,
                ..Default::default()
            })
        }
        21 => spec.ide_image_layers.push(a),
        22 => spec.feature_flags.push(n),
        23 => spec.admission = n,
        24 => spec.initializer = Some(initializer(a, b)),
        25 => {
            spec.volume_snapshot = Some(VolumeSnapshotInfo {
                volume_snapshot_name: a,
                volume_snapshot_handle: b,
            })
        }
        _ if n % 2 == 0 => request.metadata = None,
        _ => request.spec = None,
    }
}

fn initializer(location: String, password: String) -> content::WorkspaceInitializer {
    let config = content::GitConfig {
        auth_user: "u".to_owned(),
        auth_password: password,
        ..Default::default()
    };
    let git = content::GitInitializer {
        checkout_location: location,
        config: Some(config),
        ..Default::default()
    };
    content::WorkspaceInitializer {
        spec: Some(Spec::Git(git)),
    }
}

/// Plain nodes, Gitpod's, and plain ones with templates and without Services.
static MANAGERS: LazyLock<Vec<Manager>> = LazyLock::new(|| {
    let gitpod = json!({ "manager": {
        "registryFacadeHost": "reg.example.com:20000", "workspaceHostPath": "/var/gitpod/workspaces",
        "seccompProfile": "workspace_v2.json",
        "workspaceClass": { "default": { "pvc": { "size": "30Gi", "storageClass": "fast" } } },
    } });
    let templates = json!({ "manager": {
        "services": false, "debugWorkspacePod": true,
        "workspaceClass": { "default": { "templates": { "defaultPath": "/t", "prebuildPath": "/p" } } },
    } });
    let files = json!({
        "/t": { "metadata": { "labels": { "team": "blue", "more": "x" } }, "spec": {
            "nodeSelector": { "disk": "ssd" }, "tolerations": [{ "key": "a", "operator": "Exists" }],
            "containers": [{ "name": "workspace", "env": [{ "name": "A", "value": "b" }] }] } },
        "/p": { "spec": { "priorityClassName": "low", "containers": [{ "name": "workspace", "stdin": true }] } },
    });
    [
        (json!({}), json!({})),
        (gitpod, json!({})),
        (templates, files),
    ]
    .map(|(patch, files)| manager(&patch, &files))
    .into()
});

/// Returns example-config.json with `patch` merged into it, its templates taken from `files`.
fn manager(patch: &Value, files: &Value) -> Manager {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/example-config.json");
    let text = std::fs::read_to_string(path).expect("the example");
    let mut example: Value = serde_json::from_str(&text).expect("JSON");
    json_patch::merge(&mut example, patch);
    let files = files.as_object().into_iter().flatten();
    let contents = files.map(|(path, file)| (path.clone(), Ok(file.to_string())));
    let now = "2027-01-15T08:00:00Z".parse().expect("a time");
    let config = config::parse(&example.to_string()).expect("a configuration");
    let (settings, problems) = config.check(&contents.collect(), now);
    let valid = problems.iter().all(|p| p.severity != Severity::Error);
    assert!(valid, "{problems:?}");
    settings.manager
}

/// Creates an object in a dry run, and returns what would be stored.
fn accept(kind: &str, object: &impl serde::Serialize) -> Result<Value, String> {
    let path = format!("/api/v1/namespaces/default/{kind}");
    let body = serde_json::to_vec(object).expect("JSON");
    rules::create(&path, &body).map_err(|refused| format!("{kind}: {refused}"))
}

/// Validates and plans: rejected with reasons, or every planned object is accepted and can be read.
fn start(request: StartWorkspaceRequest, manager: &Manager) -> Result<Option<Plan>, TestCaseError> {
    let tokens = Tokens {
        cli_api: "c".repeat(32),
        owner: "o".repeat(32),
    };
    // Inspecting it never panics.
    let _ = plan::plan(&request::parse_lenient(request.clone()), manager, &tokens);
    let refused = |error: Error| match error {
        Error::Invalid {
            message,
            violations,
        } => {
            prop_assert!(!message.is_empty() && !violations.is_empty());
            prop_assert!(message.len() < 32 << 10, "{} bytes", message.len());
            Ok(None)
        }
        other => Err(TestCaseError::fail(format!("refused by {other}"))),
    };
    let parsed = match request::parse(request.clone(), manager) {
        Ok(parsed) => parsed,
        Err(error) => return refused(error),
    };
    let plan = match plan::plan(&parsed, manager, &tokens) {
        Ok(plan) => plan,
        Err(error) => return refused(error),
    };
    let stored = accept("pods", &plan.pod).map_err(TestCaseError::fail)?;
    for dependant in &plan.dependants {
        let accepted = match dependant {
            Dependant::Secret(secret) => accept("secrets", secret),
            Dependant::Pvc(claim) => accept("persistentvolumeclaims", claim),
            Dependant::Service(service) => accept("services", service),
        };
        accepted.map_err(TestCaseError::fail)?;
    }
    reads(&request, &stored)?;
    selects(&request.id, &stored)?;
    Ok(Some(plan))
}

/// The status of the new pod repeats the request.
fn reads(request: &StartWorkspaceRequest, stored: &Value) -> Result<(), TestCaseError> {
    let pod: Pod =
        serde_json::from_value(stored.clone()).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let objects = Objects {
        pod,
        ..Objects::default()
    };
    let explained = objects.explain();
    let (status, _) = explained.map_err(|e| TestCaseError::fail(e.to_string()))?;
    let metadata = status.metadata.clone().unwrap_or_default();
    let asked = request.metadata.clone().unwrap_or_default();
    let spec = request.spec.clone().unwrap_or_default();
    prop_assert_eq!(&status.id, &request.id);
    prop_assert_eq!(status.phase(), WorkspacePhase::Pending);
    prop_assert_eq!(
        (&metadata.owner, &metadata.meta_id),
        (&asked.owner, &asked.meta_id)
    );
    for (key, value) in &asked.annotations {
        prop_assert_eq!(metadata.annotations.get(key), Some(value));
    }
    let shown = status.spec.clone().unwrap_or_default();
    prop_assert_eq!(shown.r#type, request.r#type);
    prop_assert_eq!(shown.workspace_image, spec.workspace_image);
    prop_assert_eq!(
        &status.auth.unwrap_or_default().owner_token,
        &"o".repeat(32)
    );
    Ok(())
}

/// The selector of an id selects exactly that id (F-H3).
fn selects(id: &str, stored: &Value) -> Result<(), TestCaseError> {
    id::check(id).map_err(|e| TestCaseError::fail(e.to_string()))?;
    let selector = format!("workspaceID={id}");
    let selects = |pod| rules::selects(&selector, pod).map_err(TestCaseError::fail);
    prop_assert!(selects(stored)?);
    let mut other = stored.clone();
    other["metadata"]["labels"]["workspaceID"] = "another-one".into();
    prop_assert!(id == "another-one" || !selects(&other)?);
    Ok(())
}

proptest! {
    #[test]
    fn what_is_planned_is_accepted(edits in edits(), manager in 0..3usize) {
        let mut request = good();
        for one in edits {
            edit(&mut request, one);
        }
        start(request, &MANAGERS[manager])?;
    }

    #[test]
    fn no_bytes_make_a_start_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), manager in 0..3usize) {
        if let Ok(request) = StartWorkspaceRequest::decode(bytes.as_slice()) {
            start(request, &MANAGERS[manager])?;
        }
    }

    #[test]
    fn no_damaged_message_makes_a_start_panic(
        edits in edits(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut request = good();
        for one in edits {
            edit(&mut request, one);
        }
        let mut bytes = request.encode_to_vec();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(request) = StartWorkspaceRequest::decode(bytes.as_slice()) {
            start(request, &MANAGERS[0])?;
        }
    }

    #[test]
    fn an_id_is_refused_or_selects_one(id in text()) {
        if id::check(&id).is_ok() {
            let pod = json!({ "metadata": { "labels": { "workspaceID": id } } });
            selects(&id, &pod)?;
            // It goes into a URL unchanged.
            let path = format!("http://x/api/v1/namespaces/default/pods?labelSelector=workspaceID%3D{id}");
            let uri: http::Uri = path.parse().map_err(|_| TestCaseError::fail("no URL"))?;
            let selector = rules::parameter(uri.query().unwrap_or_default(), "labelSelector");
            prop_assert_eq!(selector, format!("workspaceID={id}"));
            prop_assert_eq!(uri.path(), "/api/v1/namespaces/default/pods");
        }
    }
}

proptest! {
    /// Two independent parsers: they accept the same quantities, with the same value.
    #[test]
    fn quantities_are_read_alike(text in "[+-]?[0-9]{0,12}[.]?[0-9]{0,12}(n|u|m||k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei|e-?[0-9]{1,2}|x)") {
        let read = rules::quantity(&text);
        let Ok(ours) = Quantity::parse(&text) else { return Ok(()) };
        prop_assert!(read.is_some());
        let canonical = read.unwrap_or_default();
        let theirs = Quantity::parse(&canonical).map_err(|e| TestCaseError::fail(format!("{canonical}: {e}")))?;
        // The other is rounded up to thousandths.
        prop_assert_eq!(ours.value(), theirs.value(), "{} is {}", text, canonical);
        prop_assert_eq!(ours.is_negative(), theirs.is_negative());
    }
}

#[test]
fn most_of_what_is_tried_is_accepted() {
    // A property of requests that are all rejected would prove nothing.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut accepted = 0;
    for _ in 0..300 {
        let tree = edits().new_tree(&mut runner).expect("edits");
        let mut request = good();
        for one in proptest::strategy::ValueTree::current(&tree) {
            edit(&mut request, one);
        }
        accepted += u32::from(start(request, &MANAGERS[0]).expect("it holds").is_some());
    }
    assert!(accepted > 100, "{accepted} of 300");
}
