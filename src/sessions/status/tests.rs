//! The phases of a session, a case for each row.

use std::sync::Arc;

use super::*;
use crate::sessions::member::Judgement;

fn member(name: &str, health: Health) -> Member {
    Member {
        session: "s1".into(),
        component: name.into(),
        pool: "p".into(),
        health: Judgement {
            health,
            ..Judgement::default()
        },
        is_gated: health == Health::Waiting,
        holds_slot: !matches!(health, Health::Completed | Health::Broken),
        ..Member::default()
    }
}

fn at(second: i64) -> Option<Timestamp> {
    Some(Timestamp::from_second(second).unwrap())
}

/// A session of a driver and a server.
struct Case {
    anchor: Anchor,
    driver: Member,
    server: Member,
}

impl Case {
    fn new(driver: Health, server: Health) -> Self {
        Self {
            anchor: Anchor::default(),
            driver: member("driver", driver),
            server: member("server", server),
        }
    }

    fn admitted(mut self) -> Self {
        self.anchor.admitted_at = at(1);
        self
    }

    fn running(mut self) -> Self {
        self = self.admitted();
        self.anchor.released_at = at(2);
        self.driver.started = at(3);
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }

    fn status(&self) -> SessionStatus {
        let names = ["driver", "server"].map(|name| Component {
            name: name.to_owned(),
            ..Component::default()
        });
        let bound = Bound::default();
        let seen = [
            Seen {
                component: &names[0],
                pod: Pod::There(&self.driver, bound),
            },
            Seen {
                component: &names[1],
                pod: Pod::There(&self.server, bound),
            },
        ];
        fold(&self.anchor, &seen, 0, 7)
    }

    fn phase(&self) -> Phase {
        self.status().phase()
    }
}

#[test]
fn each_row_of_the_phases() {
    use Health::{Broken, Completed, NotReady, Ready, Waiting};
    let outcome = |text: &str| Some(text.into());
    for (case, phase) in [
        (Case::new(Waiting, Waiting), Phase::Queued),
        (Case::new(Waiting, Waiting).admitted(), Phase::Provisioning),
        (Case::new(NotReady, Ready).admitted(), Phase::Provisioning),
        (Case::new(Ready, Ready).running(), Phase::Running),
        (Case::new(Ready, Completed).running(), Phase::Running),
        (
            Case::new(Ready, Ready)
                .running()
                .with(|c| c.server.node_is_away = true),
            Phase::Interrupted,
        ),
        (Case::new(Completed, Ready).running(), Phase::Succeeded),
        (Case::new(Broken, Ready).running(), Phase::Failed),
        // Nothing says yet that it is over: wsman records it first.
        (Case::new(Ready, Broken).running(), Phase::Running),
        (
            Case::new(Ready, Broken)
                .running()
                .with(|c| c.driver.outcome = outcome("ComponentFailed: x")),
            Phase::Failed,
        ),
        (
            Case::new(Ready, Ready)
                .running()
                .with(|c| c.anchor.stop = Some("why".to_owned())),
            Phase::Stopping,
        ),
        (
            Case::new(Ready, Ready)
                .running()
                .with(|c| c.driver.outcome = outcome("Cancelled")),
            Phase::Stopping,
        ),
        (
            Case::new(Broken, Broken).with(|c| c.driver.outcome = outcome("Cancelled")),
            Phase::Cancelled,
        ),
        (
            Case::new(Waiting, Waiting).with(|c| c.driver.outcome = outcome("Cancelled")),
            Phase::Cancelled,
        ),
    ] {
        assert_eq!(case.phase(), phase, "{:?} {:?}", case.driver, case.server);
    }
}

#[test]
fn what_was_recorded_is_final() {
    let failed = Case::new(Health::Completed, Health::Broken)
        .running()
        .with(|c| c.driver.outcome = Some("ComponentFailed: server ended with exit code 1".into()));
    let status = failed.status();
    assert_eq!(status.phase(), Phase::Failed);
    assert_eq!(status.reason, "ComponentFailed");
    assert_eq!(status.message, "server ended with exit code 1");
}

#[test]
fn a_pod_that_was_deleted_is_lost_unless_it_had_ended() {
    let name = Component::default();
    for (health, shown) in [
        (Health::Ready, Health::Broken),
        (Health::Completed, Health::Completed),
    ] {
        let member = member("server", health);
        let seen = Seen {
            component: &name,
            pod: Pod::Gone(&member, Bound::default()),
        };
        assert_eq!(component(&seen).health(), shown);
    }
}

#[test]
fn times_do_not_change_after_the_end() {
    let case = Case::new(Health::Completed, Health::Ready)
        .running()
        .with(|c| {
            c.driver.finished = at(9);
            Arc::make_mut(&mut c.anchor.spec).ttl = Some(pbjson_types::Duration {
                seconds: 10,
                nanos: 0,
            });
        });
    let times = case.status().times.unwrap();
    assert_eq!(times.finished.unwrap().seconds, 9);
    assert_eq!(times.expires.unwrap().seconds, 19);
}
