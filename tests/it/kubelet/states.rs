//! The states of pods, by their annotations.

use std::collections::HashMap;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::watcher::{self, Event as Watched, watcher};
use kube::{Api, ResourceExt};
use serde_json::{Value, json};

use super::look::{CREATED, GONE, READY, UNREADY, WAITS, look};
use super::{TIMEOUT, await_event, pod, simulate};
use crate::support::cluster::clusters;
use crate::support::envtest::namespace;

/// A pod with annotations, and what a watch sees of it, in order.
struct Case {
    name: &'static str,
    annotations: &'static [(&'static str, &'static str)],
    spec: Value,
    /// Delete the pod, with this grace period, when it looks like this.
    delete: Option<(&'static str, u32)>,
    sees: &'static [&'static str],
    /// Reasons of the warnings that must exist afterwards.
    warnings: &'static [&'static str],
}

fn case(name: &'static str, sees: &'static [&'static str]) -> Case {
    Case {
        name,
        annotations: &[],
        spec: json!({}),
        delete: None,
        sees,
        warnings: &[],
    }
}

fn cases() -> Vec<Case> {
    let probe = json!({ "containers": [{ "name": "main", "image": "img", "readinessProbe": { "httpGet": { "port": 80 } } }] });
    let always = json!({ "restartPolicy": "Always" });
    vec![
        Case {
            spec: probe.clone(),
            delete: Some((READY, 30)),
            ..case(
                "plain",
                &[
                    CREATED,
                    WAITS,
                    UNREADY,
                    READY,
                    "Running running ready deleting",
                    "Succeeded terminated:Completed(0) deleting",
                    GONE,
                ],
            )
        },
        Case {
            annotations: &[("exit-code", "143")],
            spec: json!({ "activeDeadlineSeconds": 2 }),
            ..case(
                "active-too-long",
                &[
                    CREATED,
                    WAITS,
                    READY,
                    "Failed/DeadlineExceeded terminated:Error(143)",
                ],
            )
        },
        Case {
            annotations: &[("exit-code", "143"), ("termination-message", "bye")],
            delete: Some((READY, 5)),
            ..case(
                "stopped-with-143",
                &[
                    CREATED,
                    WAITS,
                    READY,
                    "Running running ready deleting",
                    "Failed terminated:Error(143)=bye deleting",
                    GONE,
                ],
            )
        },
        Case {
            annotations: &[("ignore-term", "true")],
            delete: Some((READY, 1)),
            ..case(
                "ignores-term",
                &[
                    CREATED,
                    WAITS,
                    READY,
                    "Running running ready deleting",
                    "Failed terminated:Error(137) deleting",
                    GONE,
                ],
            )
        },
        Case {
            delete: Some((READY, 0)),
            ..case(
                "forced",
                &[
                    CREATED,
                    WAITS,
                    READY,
                    "Running running ready deleting",
                    GONE,
                ],
            )
        },
        Case {
            annotations: &[("failed-mount", "no such volume")],
            delete: Some((WAITS, 30)),
            warnings: &["FailedMount"],
            ..case(
                "deleted-before-start",
                &[
                    CREATED,
                    WAITS,
                    "Pending waiting:ContainerCreating deleting",
                    "Failed terminated:ContainerStatusUnknown(137)=unknown deleting",
                    GONE,
                ],
            )
        },
        Case {
            annotations: &[("exit-after", "200ms"), ("termination-message", "done")],
            ..case(
                "completes",
                &[
                    CREATED,
                    WAITS,
                    READY,
                    "Succeeded terminated:Completed(0)=done",
                ],
            )
        },
        Case {
            annotations: &[("exit-after", "200ms"), ("exit-reason", "OOMKilled")],
            ..case(
                "out-of-memory",
                &[CREATED, WAITS, READY, "Failed terminated:OOMKilled(137)"],
            )
        },
        Case {
            annotations: &[
                ("exit-after", "200ms"),
                ("exit-reason", "ContainerStatusUnknown"),
            ],
            ..case(
                "unknown-end",
                &[
                    CREATED,
                    WAITS,
                    READY,
                    "Failed terminated:ContainerStatusUnknown(137)=unknown",
                ],
            )
        },
        Case {
            annotations: &[("unschedulable", "Insufficient cpu")],
            warnings: &["FailedScheduling"],
            ..case("unschedulable", &[CREATED, "Pending unschedulable"])
        },
        Case {
            annotations: &[("image-pull-error", "not found")],
            warnings: &["Failed"],
            ..case(
                "no-image",
                &[
                    CREATED,
                    WAITS,
                    "Pending waiting:ErrImagePull",
                    "Pending waiting:ImagePullBackOff",
                    "Pending waiting:ErrImagePull",
                ],
            )
        },
        Case {
            annotations: &[("network-not-ready", "true")],
            warnings: &["NetworkNotReady"],
            ..case("no-network", &[CREATED, WAITS])
        },
        Case {
            spec: probe,
            annotations: &[("never-ready", "true")],
            warnings: &["Unhealthy"],
            ..case("never-ready", &[CREATED, WAITS, UNREADY])
        },
        Case {
            annotations: &[("reject", "OutOfcpu")],
            warnings: &["OutOfcpu"],
            ..case("rejected", &[CREATED, "Failed/OutOfcpu"])
        },
        Case {
            annotations: &[("evict-after", "300ms")],
            warnings: &["Evicted"],
            ..case(
                "evicted",
                &[
                    CREATED,
                    WAITS,
                    READY,
                    "Failed/Evicted terminated:Error(137)",
                ],
            )
        },
        Case {
            spec: always,
            annotations: &[("exit-after", "100ms"), ("exit-code", "1")],
            warnings: &["BackOff"],
            ..case(
                "crash-loop",
                &[
                    CREATED,
                    WAITS,
                    READY,
                    "Running terminated:Error(1)",
                    "Running running ready restarts:1",
                    "Running terminated:Error(1) restarts:1",
                    "Running waiting:CrashLoopBackOff restarts:1",
                    "Running running ready restarts:2",
                ],
            )
        },
        Case {
            spec: json!({ "initContainers": [{ "name": "a", "image": "img" }, { "name": "b", "image": "img" }] }),
            ..case(
                "init-containers",
                &[
                    CREATED,
                    "Pending waiting:PodInitializing init:waiting,waiting",
                    "Pending waiting:PodInitializing init:running,waiting",
                    "Pending waiting:PodInitializing init:0,waiting",
                    "Pending waiting:PodInitializing init:0,running",
                    "Pending waiting:PodInitializing init:0,0",
                    "Running running ready init:0,0",
                ],
            )
        },
        Case {
            annotations: &[("exit-after", "soon"), ("no-such-thing", "1")],
            warnings: &["InvalidSimulation"],
            ..case("malformed", &[CREATED, WAITS, READY])
        },
        Case {
            annotations: &[("stuck-terminating", "true")],
            delete: Some((READY, 1)),
            ..case(
                "stuck",
                &[CREATED, WAITS, READY, "Running running ready deleting"],
            )
        },
    ]
}

#[tokio::test]
async fn pods_go_through_the_states_they_ask_for() {
    for cluster in clusters("pods_go_through_the_states_they_ask_for").await {
        let client = cluster.client;
        let namespace = namespace(&client, "states").await;
        let _running = simulate(&client, &namespace);
        let api: Api<Pod> = Api::namespaced(client.clone(), &namespace);
        let cases = cases();
        let mut seen: HashMap<String, Vec<String>> = HashMap::new();
        let open = |seen: &HashMap<String, Vec<String>>| -> Vec<&'static str> {
            let wrong = |case: &&Case| {
                seen.get(case.name)
                    .is_none_or(|s| s.len() < case.sees.len())
            };
            cases.iter().filter(wrong).map(|case| case.name).collect()
        };
        let events = watcher(api.clone(), watcher::Config::default());
        tokio::pin!(events);
        let watch = async {
            let mut begun = false;
            while !open(&seen).is_empty() {
                let looks = match events.next().await.unwrap() {
                    Ok(Watched::InitDone) if !begun => {
                        begun = true;
                        for case in &cases {
                            let pod = pod(case.name, case.annotations, &case.spec);
                            api.create(&PostParams::default(), &pod).await.unwrap();
                        }
                        continue;
                    }
                    Ok(Watched::Apply(pod)) => (pod.name_any(), look(&pod)),
                    Ok(Watched::Delete(pod)) => (pod.name_any(), GONE.to_owned()),
                    _ => continue,
                };
                let (name, look) = looks;
                let so_far = seen.entry(name.clone()).or_default();
                if so_far.last() == Some(&look) {
                    continue;
                }
                so_far.push(look.clone());
                let case = cases.iter().find(|case| case.name == name).unwrap();
                if let Some((_, grace)) = case.delete.filter(|(when, _)| *when == look) {
                    let params = DeleteParams::default().grace_period(grace);
                    api.delete(&name, &params).await.unwrap();
                }
            }
        };
        let timed_out = tokio::time::timeout(TIMEOUT, watch).await.is_err();
        let mut wrong = String::new();
        for case in &cases {
            // What follows differs only in how far the pod came before the last of the others was done.
            let saw = seen.get(case.name).cloned().unwrap_or_default();
            let saw = &saw[..saw.len().min(case.sees.len())];
            if saw != case.sees {
                let (name, sees) = (case.name, case.sees);
                wrong += &format!("{name}\n  expected {sees:?}\n  saw      {saw:?}\n");
            }
        }
        assert!(
            wrong.is_empty(),
            "on the {} API server:\n{wrong}",
            cluster.name
        );
        assert!(!timed_out);
        for case in &cases {
            for reason in case.warnings {
                await_event(&client, &namespace, case.name, reason).await;
            }
        }
    }
}
