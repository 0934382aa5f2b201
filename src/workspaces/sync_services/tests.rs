//! When the Services of a workspace are put right, and when they are left alone.

use super::*;
use crate::action::PodRef;
use crate::index::noun::Member;
use crate::objects::ServicePort;
use crate::proto::answers::EncodedStatus;
use crate::proto::wsman::{PortSpec, PortVisibility, WorkspaceStatus};
use crate::workspaces::entry::Entry;
use crate::workspaces::image::Recorded;
use crate::workspaces::pod_state::PodState;

const IDE: [(&str, i64); 2] = [("ide", 23000), ("supervisor", 22999)];

fn served(ports: &[(&str, i64)]) -> Vec<ServicePort> {
    let port = |(name, port): &(&str, i64)| ServicePort {
        name: (*name).to_owned(),
        port: *port,
        target_port: *port,
        app_protocol: String::new(),
    };
    ports.iter().map(port).collect()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn status(phase: WorkspacePhase) -> EncodedStatus {
    EncodedStatus::new(WorkspaceStatus {
        phase: phase.into(),
        ..Default::default()
    })
}

fn entry(exposed: &[u32]) -> Entry {
    let port = |port: &u32| PortSpec {
        port: *port,
        visibility: PortVisibility::Public.into(),
        ..Default::default()
    };
    Entry {
        id: "a".into(),
        status: status(WorkspacePhase::Running),
        state: PodState {
            service_prefix: "P".to_owned(),
            ours: true,
            created: Some(at(0)),
            exposed_ports: exposed.iter().map(port).collect(),
            ..Default::default()
        },
        why: Default::default(),
        image: Recorded::Missing,
    }
}

fn group(entry: &Entry) -> Group<Workspace> {
    let pod = PodRef {
        name: "ws-a".to_owned(),
        uid: "u".to_owned(),
    };
    let member = Member {
        pod: pod.clone(),
        version: 1,
        gone: false,
        entry: entry.clone(),
        node: Box::default(),
        rank: 0,
        objects: None,
    };
    Group::new(&pod, member)
}

fn synced(headless: bool) -> Action {
    let pod = PodRef {
        name: "ws-a".to_owned(),
        uid: "u".to_owned(),
    };
    services::sync(pod.clone(), pod, "P", headless)
}

/// What is done about these Services at a second.
fn sync(
    entry: &Entry,
    services: bool,
    ide: Option<&[(&str, i64)]>,
    ports: Option<&[(&str, i64)]>,
    second: i64,
) -> ServiceSync {
    let policy = LifecyclePolicy {
        services: match services {
            true => Services::ClusterIp,
            false => Services::Off,
        },
        ..LifecyclePolicy::default()
    };
    let (ide, ports) = (ide.map(served), ports.map(served));
    super::step(&group(entry), &policy, at(second), |name| {
        let ports = match name {
            "ws-p-ide" => ide.as_deref(),
            "ws-p-ports" => ports.as_deref(),
            other => panic!("{other} is asked for"),
        };
        let headless = false;
        Some(Served {
            headless,
            ports: ports?,
        })
    })
}

#[test]
fn services_that_differ_from_the_marks_are_put_right() {
    let public = |port: &'static str, number| -> [(&'static str, i64); 1] { [(port, number)] };
    let (p1, q1) = (public("p1-public", 1), public("p1-private", 1));
    type Served<'a> = Option<&'a [(&'a str, i64)]>;
    let cases: [(&str, &[u32], Served<'_>, Served<'_>, bool); 9] = [
        ("as it should be", &[1], Some(&IDE), Some(&p1), false),
        ("no ports", &[], Some(&IDE), None, false),
        ("IDE missing", &[], None, None, true),
        ("IDE changed", &[], Some(&IDE[..1]), None, true),
        ("ports missing", &[1], Some(&IDE), None, true),
        ("visibility", &[1], Some(&IDE), Some(&q1), true),
        ("one port short", &[1, 2], Some(&IDE), Some(&p1), true),
        ("ports left over", &[], Some(&IDE), Some(&p1), true),
        ("no port at all", &[0, 70000], Some(&IDE), None, false),
    ];
    for (name, exposed, ide, ports, wrong) in cases {
        let entry = entry(exposed);
        let action = wrong.then(|| synced(false));
        assert_eq!(sync(&entry, true, ide, ports, 10).action, action, "{name}");
        assert_eq!(
            sync(&entry, false, ide, ports, 10),
            ServiceSync::default(),
            "{name}"
        );
        let early = sync(&entry, true, ide, ports, 9);
        let wake_at = wrong.then(|| at(10));
        assert_eq!((early.action, early.wake_at), (None, wake_at), "{name}");
    }
}

#[test]
fn who_changes_ports_has_the_first_try() {
    let mut entry = entry(&[1]);
    entry.state.ports_changed = Some(at(100));
    let waits = sync(&entry, true, Some(&IDE), None, 109);
    assert_eq!((waits.action, waits.wake_at), (None, Some(at(110))));
    let acts = sync(&entry, true, Some(&IDE), None, 110);
    assert!(acts.action.is_some() && acts.wake_at.is_none());
}

#[test]
fn what_ends_or_is_not_ours_is_left_alone() {
    let spoil: [fn(&mut Entry); 3] = [
        |entry| entry.status = status(WorkspacePhase::Stopping),
        |entry| entry.state.ours = false,
        |entry| entry.state.deleting = Some(at(0)),
    ];
    for spoil in spoil {
        let mut entry = entry(&[1]);
        spoil(&mut entry);
        assert_eq!(sync(&entry, true, None, None, 100), ServiceSync::default());
    }
}

#[test]
fn a_service_that_works_stays_as_it_is_and_one_that_cannot_map_is_made_anew() {
    let target = |target| PortSpec {
        port: 80,
        target,
        ..Default::default()
    };
    let port = |target_port| ServicePort {
        name: "p80-private".to_owned(),
        port: 80,
        target_port,
        app_protocol: String::new(),
    };
    let ide = served(&IDE);
    let cases = [
        ("the same port, headless", 0, true, 80, false),
        ("the same port, with an address", 0, false, 80, false),
        ("the same port, written out", 80, true, 80, false),
        ("another port, with an address", 8080, false, 8080, false),
        ("another port, headless", 8080, true, 8080, true),
        ("not mapped yet", 8080, false, 80, true),
        ("mapped no more", 0, false, 8080, true),
    ];
    for services in [Services::Headless, Services::ClusterIp] {
        let policy = LifecyclePolicy {
            services,
            ..LifecyclePolicy::default()
        };
        for (name, wanted, headless, there, wrong) in cases {
            let mut entry = entry(&[]);
            entry.state.exposed_ports = vec![target(wanted)];
            let ports = [port(there)];
            let sync = super::step(&group(&entry), &policy, at(10), |name| {
                let ports = if name == "ws-p-ide" { &ide } else { &ports[..] };
                Some(Served { headless, ports })
            });
            let action = wrong.then(|| synced(services == Services::Headless));
            assert_eq!(sync.action, action, "{name}");
        }
    }
}
