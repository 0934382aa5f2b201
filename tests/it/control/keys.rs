//! SSH keys: short lists on the pod, long ones in its Secret, and back.

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use wsman::proto::wsman::*;

use super::{annotation, running};
use crate::support::cluster::{self, Cluster};
use crate::support::world::{World, request};

on_both_clusters! {
    keys_are_kept_where_they_fit
    a_workspace_without_a_secret_gets_one_for_long_keys
}

const KEYS: &str = "gitpod.io/sshPublicKeys";
const IN_SECRET: &str = "wsman.dev/in-secret";
const SECRET_KEY: &str = "ssh-public-keys";

async fn update(world: &World, id: &str, keys: &[String]) {
    let request = UpdateSshKeyRequest {
        id: id.to_owned(),
        keys: keys.to_vec(),
    };
    world.client.clone().update_ssh_key(request).await.unwrap();
}

fn keys(size: usize) -> Vec<String> {
    const KEY: &str =
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMkhwSFl5uHX+RKdMvZwICCuQYdOLDd3T87WZ0zuLI1w";
    let key = |n: usize| format!("{KEY} {}{n}", "a".repeat(size));
    (0..2).map(key).collect()
}

fn decode(text: &str) -> Vec<String> {
    use base64::Engine;
    use prost::Message;
    let bytes = base64::prelude::BASE64_STANDARD.decode(text).unwrap();
    SshPublicKeys::decode(bytes.as_slice()).unwrap().keys
}

/// The keys in the Secret of a workspace, and the names of everything in it.
async fn secret(cluster: &Cluster, name: &str) -> (Option<Vec<String>>, Vec<String>) {
    let secret = cluster.api::<Secret>().await.get(name).await.unwrap();
    let mut data = secret.data.unwrap_or_default();
    let names = data.keys().cloned().collect();
    let text = data.remove(SECRET_KEY);
    let keys = text.map(|text| decode(std::str::from_utf8(&text.0).unwrap()));
    (keys, names)
}

async fn keys_are_kept_where_they_fit(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("ssh")).await;
    let (none, variables) = secret(cluster, "ws-ssh").await;
    assert_eq!((none, variables.len()), (None, 1));
    let mark = async |key| annotation(cluster, "ws-ssh", key).await;
    let version = async || world.describe("ssh").await.unwrap().status_version;

    update(&world, "ssh", &keys(10)).await;
    assert_eq!(decode(&mark(KEYS).await.unwrap()), keys(10));
    let before = version().await;
    update(&world, "ssh", &keys(10)).await;
    assert_eq!(version().await, before, "it was so already");

    update(&world, "ssh", &keys(100 << 10)).await;
    assert_eq!(mark(KEYS).await, None);
    assert_eq!(mark(IN_SECRET).await.as_deref(), Some(KEYS));
    let (long, names) = secret(cluster, "ws-ssh").await;
    assert_eq!(long.unwrap(), keys(100 << 10));
    assert!(variables.iter().all(|name| names.contains(name)));

    update(&world, "ssh", &keys(110 << 10)).await;
    let (longer, _) = secret(cluster, "ws-ssh").await;
    assert_eq!(longer.unwrap(), keys(110 << 10));

    update(&world, "ssh", &keys(1)).await;
    assert_eq!(decode(&mark(KEYS).await.unwrap()), keys(1));
    assert_eq!(mark(IN_SECRET).await, None);
    assert_eq!(secret(cluster, "ws-ssh").await, (None, variables.clone()));

    update(&world, "ssh", &[]).await;
    assert_eq!(mark(KEYS).await, None);
    update(&world, "ssh", &keys(100 << 10)).await;
    update(&world, "ssh", &[]).await;
    assert_eq!((mark(KEYS).await, mark(IN_SECRET).await), (None, None));
    assert_eq!(secret(cluster, "ws-ssh").await, (None, variables));
    world.drain().await.unwrap();
}

async fn a_workspace_without_a_secret_gets_one_for_long_keys(cluster: &Cluster) {
    let world = World::start(cluster).await;
    let mut updates = world.subscribe().await;
    let mut plain = request("plain");
    plain.spec.as_mut().unwrap().envvars.clear();
    running(&world, &mut updates, plain).await;
    let secrets = cluster.api::<Secret>().await;
    assert!(secrets.get_opt("ws-plain").await.unwrap().is_none());
    update(&world, "plain", &keys(100 << 10)).await;
    let made = secrets.get("ws-plain").await.unwrap().metadata;
    let pod = cluster.api::<Pod>().await.get("ws-plain").await.unwrap();
    let owners = made.owner_references.unwrap();
    assert_eq!(Some(&owners[0].uid), pod.metadata.uid.as_ref());
    assert_eq!(made.labels.unwrap()["workspaceID"], "plain");
    assert_eq!(
        secret(cluster, "ws-plain").await.0.unwrap(),
        keys(100 << 10)
    );
    world.drain().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_are_so_already_cost_no_write() {
    let cluster = cluster::embedded().await;
    let world = World::start(&cluster).await;
    let mut updates = world.subscribe().await;
    running(&world, &mut updates, request("same")).await;
    let faults = cluster.server.as_ref().unwrap().faults();
    for size in [1, 100 << 10] {
        update(&world, "same", &keys(size)).await;
        faults.record();
        update(&world, "same", &keys(size)).await;
        let asked = faults.requests().into_iter();
        let writes = asked.filter(|r| r.is_write() && r.user_agent.starts_with("wsman/"));
        assert_eq!(writes.collect::<Vec<_>>(), [], "{size}");
    }
    // More than a Secret can hold: the server rejects it, and the pod is not marked.
    let mut full = request("crowded");
    let variables = (0..7).map(|n| EnvironmentVariable {
        name: format!("BIG_{n}"),
        value: "x".repeat(100 << 10),
        secret: None,
    });
    full.spec.as_mut().unwrap().envvars = variables.collect();
    running(&world, &mut updates, full).await;
    let request = UpdateSshKeyRequest {
        id: "crowded".to_owned(),
        keys: keys(250 << 10),
    };
    let refused = world
        .client
        .clone()
        .update_ssh_key(request)
        .await
        .unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument, "{refused}");
    assert_eq!(annotation(&cluster, "ws-crowded", IN_SECRET).await, None);
    let params = ListParams::default();
    let secrets = cluster.api::<Secret>().await.list(&params).await.unwrap();
    assert_eq!(secrets.items.len(), 2);
    world.drain().await.unwrap();
}
