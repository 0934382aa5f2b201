//! The rights of a daemon: it names one that it lacks, and is not ready without it; its manifests give all of them.

use std::path::PathBuf;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::SelfSubjectAccessReview;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{PolicyRule, Role, RoleBinding, RoleRef, Subject};
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use tonic_health::pb::health_check_response::ServingStatus;
use wsman::cluster::connect::{AGENT, Source, connect};
use wsman::cluster::rights::RIGHTS;

use super::processes::{Daemon, write_config, wsman};
use super::support::cluster::{self, Cluster};
use super::support::world::World;

/// What readiness needs, by verb and resource.
const NEEDED: [(&str, &str); 11] = [
    ("get", "leases.coordination.k8s.io"),
    ("create", "leases.coordination.k8s.io"),
    ("list", "leases.coordination.k8s.io"),
    ("watch", "leases.coordination.k8s.io"),
    ("list", "pods"),
    ("watch", "pods"),
    ("list", "configmaps"),
    ("watch", "configmaps"),
    ("list", "services"),
    ("watch", "services"),
    ("list", "events"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_names_the_verb_and_the_resource_that_are_forbidden() {
    for (verb, resource) in NEEDED {
        let cluster = cluster::embedded().await;
        let rights = cluster.server.as_ref().unwrap().rights();
        rights.take(verb, resource);
        let world = World::start_unready(cluster.client().await, &cluster.namespace).await;
        let reason = format!(": cannot {verb} {resource}: ");
        let answer = world.readiness(|answer| answer.contains(&reason)).await;
        assert!(answer.starts_with("HTTP/1.0 503"), "{answer}");
        assert_eq!(world.health("").await, ServingStatus::NotServing);
        rights.give_back();
        // The next attempt follows the daemon's clock, or ours.
        world.clock.advance(wsman::lease::RETRY);
        world
            .readiness(|answer| answer.starts_with("HTTP/1.0 200"))
            .await;
        world.drain().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_right_to_renew_the_lease_that_is_taken_away_is_noticed() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let rights = cluster.server.as_ref().unwrap().rights();
    rights.take("patch", "leases.coordination.k8s.io");
    world.clock.advance(wsman::lease::RETRY);
    let reason = "lease: cannot patch leases.coordination.k8s.io: ";
    world.readiness(|answer| answer.contains(reason)).await;
    rights.give_back();
    world.clock.advance(wsman::lease::RETRY);
    world
        .readiness(|answer| answer.starts_with("HTTP/1.0 200"))
        .await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_right_to_nodes_it_is_ready() {
    let cluster = cluster::embedded().await;
    let rights = cluster.server.as_ref().unwrap().rights();
    for verb in ["list", "watch"] {
        rights.take(verb, "nodes");
    }
    let world = World::start(&cluster).await;
    world
        .readiness(|answer| answer.starts_with("HTTP/1.0 200"))
        .await;
    world.drain().await.unwrap();
}

/// Waits until the log has a line of that message, and returns it.
pub(crate) async fn logged(log: &std::path::Path, message: &str) -> serde_json::Value {
    let begun = std::time::Instant::now();
    loop {
        let text = std::fs::read_to_string(log).unwrap();
        let lines = text
            .lines()
            .filter_map(|line| serde_json::from_str(line).ok());
        let found: Vec<serde_json::Value> = { lines }
            .filter(|line: &serde_json::Value| line["message"] == message)
            .collect();
        if let Some(line) = found.first() {
            assert_eq!(found.len(), 1, "{text}");
            return line.clone();
        }
        assert!(begun.elapsed().as_secs() < 60, "{text}");
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_line_at_the_start_lists_what_is_missing() {
    let cluster = cluster::embedded().await;
    let rights = cluster.server.as_ref().unwrap().rights();
    rights.take("patch", "services");
    rights.take("delete", "secrets");
    rights.take("watch", "nodes");
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let file = std::fs::File::create(&log).unwrap();
    let daemon = Daemon::start_with("default", &cluster.kubeconfig, 0, file.into());
    let line = logged(&log, "RIGHTS ARE MISSING").await;
    assert_eq!(
        line["missing"],
        "delete secrets (protected variables and long SSH keys), patch services (ports)"
    );
    assert_eq!(
        line["optional"],
        "watch nodes (nodes that are lost, machines of pools)"
    );
    daemon.kill();
}

/// Creates a service account with all rights of the table except one; returns its kubeconfig.
pub(crate) async fn account_without(
    cluster: &Cluster,
    folder: &std::path::Path,
    missing: (&str, &str),
) -> PathBuf {
    let named = |name: &str| kube::core::ObjectMeta {
        name: Some(name.to_owned()),
        ..Default::default()
    };
    let accounts = cluster.api::<ServiceAccount>().await;
    let account = ServiceAccount {
        metadata: named("limited"),
        ..Default::default()
    };
    let post = PostParams::default();
    accounts.create(&post, &account).await.unwrap();
    let own = |text: &str| text.to_owned();
    let rules = RIGHTS.iter().filter(|right| !right.cluster).map(|right| {
        let verbs = right.verbs.iter();
        let verbs = verbs.filter(|verb| (**verb, right.resource) != missing);
        let verbs: Vec<String> = verbs.map(|verb| own(verb)).collect();
        (!verbs.is_empty()).then(|| PolicyRule {
            api_groups: Some(vec![own(right.group)]),
            resources: Some(vec![own(right.resource)]),
            verbs,
            ..Default::default()
        })
    });
    let role = Role {
        metadata: named("limited"),
        rules: Some(rules.flatten().collect()),
    };
    cluster
        .api::<Role>()
        .await
        .create(&post, &role)
        .await
        .unwrap();
    let binding = RoleBinding {
        metadata: named("limited"),
        role_ref: RoleRef {
            api_group: own("rbac.authorization.k8s.io"),
            kind: own("Role"),
            name: own("limited"),
        },
        subjects: Some(vec![Subject {
            kind: own("ServiceAccount"),
            name: own("limited"),
            namespace: Some(cluster.namespace.clone()),
            ..Default::default()
        }]),
    };
    let bindings = cluster.api::<RoleBinding>().await;
    bindings.create(&post, &binding).await.unwrap();
    kubeconfig_of(cluster, folder, "limited").await
}

/// Returns the kubeconfig of a service account.
async fn kubeconfig_of(cluster: &Cluster, folder: &std::path::Path, account: &str) -> PathBuf {
    let accounts = cluster.api::<ServiceAccount>().await;
    let asked = TokenRequest {
        spec: TokenRequestSpec::default(),
        ..Default::default()
    };
    let post = PostParams::default();
    let token = accounts.create_token_request(account, &post, &asked).await;
    let token = token.unwrap().status.unwrap().token;
    let text = std::fs::read_to_string(&cluster.kubeconfig).unwrap();
    let mut kubeconfig: serde_json::Value = serde_json::from_str(&text).unwrap();
    kubeconfig["users"][0]["user"] = json!({ "token": token });
    let path = folder.join("kubeconfig");
    std::fs::write(&path, kubeconfig.to_string()).unwrap();
    path
}

/// Creates an object in the way of `kubectl create --validate=strict`.
async fn create(client: &kube::Client, object: &Value) {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (version, kind) = (text("/apiVersion").unwrap(), text("/kind").unwrap());
    let prefix = if version.contains('/') { "apis" } else { "api" };
    let place = text("/metadata/namespace").map(|namespace| format!("namespaces/{namespace}/"));
    let place = place.unwrap_or_default();
    let plural = format!("{}s", kind.to_lowercase());
    let path = format!("/{prefix}/{version}/{place}{plural}?fieldValidation=Strict");
    let request = http::Request::post(path).header("content-type", "application/json");
    let request = request.body(object.to_string().into_bytes()).unwrap();
    let made = client.request::<Value>(request).await;
    made.unwrap_or_else(|why| panic!("{kind}: {why}"));
}

/// Whether the user of a client may do something.
async fn may(client: &kube::Client, namespace: &str, group: &str, what: (&str, &str)) -> bool {
    let (verb, resource) = what;
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    let review = json!({ "spec": { "resourceAttributes": {
        "namespace": namespace, "group": group, "resource": resource, "subresource": subresource, "verb": verb,
    } } });
    let review: SelfSubjectAccessReview = serde_json::from_value(review).unwrap();
    let reviews = kube::Api::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    answer.unwrap().status.unwrap().allowed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_api_server_takes_the_manifests_and_they_give_every_right() {
    let Some(cluster) = cluster::real("the_manifests").await else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = write_config(folder.path(), &cluster.namespace, 0);
    let mut config: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    config["kubernetes"] = json!({ "mode": "in-cluster" });
    config["rpcServer"]["addr"] = ":8080".into();
    config["health"]["addr"] = ":8086".into();
    config["sessions"] = json!({});
    std::fs::write(&path, config.to_string()).unwrap();
    let mut command = wsman();
    command.args([
        "generate",
        "manifests",
        "-o",
        "json",
        "--image",
        "registry.example.com/wsman:1",
    ]);
    let printed = command.arg("--config").arg(&path).output().unwrap();
    let stderr = String::from_utf8(printed.stderr).unwrap();
    assert_eq!(stderr, "");
    let list: Value = serde_json::from_slice(&printed.stdout).unwrap();
    let admin = cluster.client().await;
    for object in list["items"].as_array().unwrap() {
        create(&admin, object).await;
    }
    let kubeconfig = kubeconfig_of(&cluster, folder.path(), "wsman").await;
    let source = Source::Kubeconfig(&kubeconfig);
    let client = connect(source, AGENT).await.unwrap();
    for right in &RIGHTS {
        let namespace = if right.cluster {
            ""
        } else {
            &cluster.namespace
        };
        for verb in right.verbs {
            let what = (*verb, right.resource);
            assert!(may(&client, namespace, right.group, what).await, "{what:?}");
        }
    }
    let elsewhere = "kube-system";
    for (namespace, what) in [
        (elsewhere, ("get", "secrets")),
        (elsewhere, ("create", "pods")),
        (cluster.namespace.as_str(), ("list", "secrets")),
        (cluster.namespace.as_str(), ("create", "serviceaccounts")),
        ("", ("patch", "nodes")),
    ] {
        assert!(!may(&client, namespace, "", what).await, "{what:?}");
    }
    let world = World::start_unready(client, &cluster.namespace).await;
    world.clock.advance(wsman::lease::DURATION);
    let ready = world.readiness(|answer| {
        world.clock.advance(wsman::lease::RETRY);
        answer.starts_with("HTTP/1.0 200")
    });
    ready.await;
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_of_a_real_api_server_that_lacks_one_rule_is_named() {
    for (verb, resource, name) in [
        ("watch", "pods", "pods"),
        ("create", "leases", "leases.coordination.k8s.io"),
        ("list", "configmaps", "configmaps"),
    ] {
        let Some(cluster) = cluster::real("a_role_that_lacks_one_rule").await else {
            return;
        };
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = account_without(&cluster, folder.path(), (verb, resource)).await;
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        let daemon = Daemon::start_with(&cluster.namespace, &kubeconfig, 0, file.into());
        let line = logged(&log, "RIGHTS ARE MISSING").await;
        let missing = line["missing"].as_str().unwrap();
        assert!(
            missing.starts_with(&format!("{verb} {name} (")),
            "{missing}"
        );
        assert_eq!(missing.matches(" (").count(), 1, "{missing}");
        daemon.kill();
        let client = connect(Source::Kubeconfig(&kubeconfig), AGENT)
            .await
            .unwrap();
        let world = World::start_unready(client, &cluster.namespace).await;
        let reason = format!(": cannot {verb} {name}: ");
        world.clock.advance(wsman::lease::DURATION);
        world.readiness(|answer| answer.contains(&reason)).await;
        assert_eq!(world.health("").await, ServingStatus::NotServing);
        // With the rule it becomes ready.
        let all = RIGHTS.iter().filter(|right| !right.cluster).map(|right| {
            json!({ "apiGroups": [right.group], "resources": [right.resource], "verbs": right.verbs })
        });
        let rules = json!({ "rules": all.collect::<Vec<_>>() });
        let roles = cluster.api::<Role>().await;
        let patch = Patch::Merge(rules);
        roles
            .patch("limited", &PatchParams::default(), &patch)
            .await
            .unwrap();
        let ready = world.readiness(|answer| {
            world.clock.advance(wsman::lease::RETRY);
            answer.starts_with("HTTP/1.0 200")
        });
        ready.await;
        world.drain().await.unwrap();
    }
}
