//! What a log promises its readers, whatever they miss.

use super::*;
use crate::proto::encoded::Encoded;
use crate::proto::wsman::{WorkspacePhase, WorkspaceStatus};

fn update(uid: &str, version: u64, phase: WorkspacePhase) -> Update {
    let status = WorkspaceStatus {
        id: uid.to_owned(),
        status_version: version,
        phase: phase.into(),
        ..Default::default()
    };
    Update {
        uid: uid.into(),
        status: Encoded::new(status),
    }
}

fn versions(log: &Log, after: u64) -> Vec<(String, u64)> {
    log.after(after)
        .map(|(_, update)| (update.uid.to_string(), update.status.version()))
        .collect()
}

#[test]
fn a_fast_reader_sees_every_update() {
    let mut log = Log::default();
    for version in 1..=3 {
        log.append(update("a", version, WorkspacePhase::Running));
    }
    assert_eq!(
        versions(&log, 0),
        [("a".into(), 1), ("a".into(), 2), ("a".into(), 3)]
    );
    assert_eq!(versions(&log, 2), [("a".into(), 3)]);
}

#[test]
fn a_slow_reader_gets_the_last_update_of_each_workspace() {
    let mut log = Log::default();
    log.append(update("quiet", 1, WorkspacePhase::Running));
    log.append(update("over", 2, WorkspacePhase::Stopped));
    for version in 3..(RECENT as u64 * 3) {
        log.append(update("busy", version, WorkspacePhase::Running));
    }
    let seen = versions(&log, 0);
    assert_eq!(seen[..2], [("quiet".into(), 1), ("over".into(), 2)]);
    assert_eq!(seen.last(), Some(&("busy".into(), RECENT as u64 * 3 - 1)));
    assert!(seen.is_sorted_by_key(|(_, version)| *version), "in order");
    assert!(
        log.old.len() + log.recent.len() <= RECENT + 3,
        "bounded by the number of workspaces"
    );
}

#[test]
fn a_reader_that_missed_a_stopped_for_good_is_told() {
    let mut log = Log::default();
    for n in 0..=ENDED as u64 {
        log.append(update(&format!("w{n}"), n, WorkspacePhase::Stopped));
    }
    assert_eq!(log.horizon, 1);
    assert!(log.last.len() <= ENDED);
}

#[tokio::test]
async fn what_comes_between_two_reads_is_neither_lost_nor_repeated() {
    let hub = Hub::new(Index::default());
    let mut subscription = hub.subscribe(Filter::default());
    let send = |version| {
        hub.change(|_| Changes {
            updates: vec![update("a", version, WorkspacePhase::Running)],
            ..Changes::default()
        });
    };
    let mut seen = Vec::new();
    for version in 1..=500 {
        send(version);
        if version % 7 == 0 {
            seen.extend(
                subscription
                    .next()
                    .await
                    .unwrap()
                    .iter()
                    .map(|u| u.status.version()),
            );
        }
    }
    while seen.len() < 500 {
        seen.extend(
            subscription
                .next()
                .await
                .unwrap()
                .iter()
                .map(|u| u.status.version()),
        );
    }
    assert_eq!(seen, (1..=500).collect::<Vec<_>>());
}
