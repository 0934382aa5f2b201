//! Elections among replicas that share only the Lease.

use std::time::Duration;

use super::*;
use crate::objects::Meta;

const SECOND: Duration = Duration::from_secs(1);

/// The API server: one Lease, with versions.
#[derive(Default)]
struct Server {
    lease: Option<Lease>,
    version: u64,
}

impl Server {
    fn write(&mut self, action: Action) -> Option<Lease> {
        let Action::UpdateLease(update) = action else {
            panic!("{action:?}")
        };
        let there = self
            .lease
            .as_ref()
            .map(|lease| lease.metadata.resource_version.clone());
        if update.version != there {
            return None;
        }
        self.version += 1;
        let text = serde_json::to_string(&serde_json::json!({
            "metadata": { "name": NAME, "resourceVersion": self.version.to_string() },
            "spec": update.spec,
        }));
        self.lease = serde_json::from_str(&text.unwrap()).unwrap();
        self.lease.clone()
    }
}

/// A replica with its own clocks.
struct Replica {
    election: Election,
    /// Its `elapsed` is the test's time plus this.
    started: Duration,
    wall: Timestamp,
}

impl Replica {
    fn new(name: &str, started: Duration, wall: &str) -> Self {
        Self {
            election: Election::new(name.to_owned()),
            started,
            wall: wall.parse().unwrap(),
        }
    }

    /// Makes the next step at a moment; `reaches`: whether requests arrive.
    fn turn(&mut self, at: Duration, server: &mut Server, reaches: bool) {
        let now = at + self.started;
        for _ in 0..8 {
            match self.election.step(now, self.wall + at) {
                Step::Wait(until) => {
                    assert!(until > now, "waits for a moment that is over");
                    return;
                }
                _ if !reaches => self.election.fail(now),
                Step::Read => self.election.read(server.lease.clone(), now),
                Step::Write(action) => match server.write(action) {
                    Some(lease) => self.election.read(Some(lease), now),
                    None => self.election.conflict(),
                },
            }
        }
        panic!("never rests");
    }

    fn holds(&self, at: Duration) -> bool {
        let now = at + self.started;
        self.election.lease_state(now).holds(now)
    }
}

/// Two with equal clocks.
fn synchronised() -> [Replica; 2] {
    let wall = "2026-01-01T00:00:00Z".parse().unwrap();
    pair().map(|replica| Replica { wall, ..replica })
}

fn pair() -> [Replica; 2] {
    [
        Replica::new("a", Duration::ZERO, "2026-01-01T00:00:00.123456789Z"),
        // An hour ahead, and started long before.
        Replica::new("b", 5000 * SECOND, "2026-01-01T01:00:00Z"),
    ]
}

#[test]
fn the_first_takes_a_free_lease_at_once_and_keeps_it() {
    let (mut server, [mut a, mut b]) = (Server::default(), pair());
    for second in 0..60 {
        a.turn(second * SECOND, &mut server, true);
        b.turn(second * SECOND, &mut server, true);
        assert!(a.holds(second * SECOND) && !b.holds(second * SECOND));
    }
    assert_eq!(server.version, 30, "a renewal every two seconds");
    let spec = server.lease.unwrap().spec;
    assert_eq!(spec.holder_identity, "a");
    assert_eq!(spec.lease_transitions, Some(0));
    assert_eq!(
        spec.acquire_time,
        Some("2026-01-01T00:00:00.123456Z".parse().unwrap())
    );
    let holder = "a".to_owned();
    assert_eq!(
        b.election.lease_state(5059 * SECOND),
        LeaseState::Follower { holder }
    );
}

#[test]
fn a_dead_holder_is_followed_after_fifteen_seconds_and_not_before() {
    let (mut server, [mut a, mut b]) = (Server::default(), synchronised());
    a.turn(Duration::ZERO, &mut server, true);
    for second in 0..15 {
        b.turn(second * SECOND, &mut server, true);
        assert!(!b.holds(second * SECOND), "{second}");
    }
    b.turn(15 * SECOND, &mut server, true);
    assert!(b.holds(15 * SECOND));
    assert_eq!(server.lease.unwrap().spec.lease_transitions, Some(1));
}

#[test]
fn a_holder_that_cannot_renew_stops_before_another_may_begin() {
    let (mut server, [mut a, mut b]) = (Server::default(), pair());
    let mut taken = None;
    for tenth in 0..400 {
        let at = tenth * SECOND / 10;
        a.turn(at, &mut server, tenth < 31);
        if let Some(lease) = server.lease.clone() {
            b.election.observe(lease, at + b.started);
        }
        b.turn(at, &mut server, true);
        assert!(!(a.holds(at) && b.holds(at)), "two at {at:?}");
        if b.holds(at) {
            taken.get_or_insert(at);
        }
    }
    assert!(!a.holds(12 * SECOND + SECOND / 10));
    assert!(taken.is_some_and(|at| at >= 17 * SECOND && at < 18 * SECOND));
    // The first reconnects, reads it, and follows.
    a.turn(40 * SECOND, &mut server, true);
    let holder = "b".to_owned();
    assert_eq!(
        a.election.lease_state(40 * SECOND),
        LeaseState::Follower { holder }
    );
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let (mut server, [mut a, mut b]) = (Server::default(), pair());
    a.turn(Duration::ZERO, &mut server, true);
    b.turn(SECOND, &mut server, true);
    assert!(b.election.release(b.wall).is_none(), "not its to release");
    let released = server.write(a.election.release(a.wall).unwrap()).unwrap();
    b.election.observe(released, 5003 * SECOND);
    b.turn(3 * SECOND, &mut server, true);
    assert!(b.holds(3 * SECOND));
}

#[test]
fn late_events_do_not_change_the_lease_state() {
    let (mut server, [mut a, _]) = (Server::default(), pair());
    let lease = |holder: &str, version: &str| Lease {
        metadata: Meta {
            resource_version: version.to_owned(),
            ..Meta::default()
        },
        spec: LeaseSpec {
            holder_identity: holder.to_owned(),
            ..LeaseSpec::default()
        },
    };
    server.lease = Some(lease("", "7"));
    server.version = 7;
    a.turn(Duration::ZERO, &mut server, true);
    assert!(a.holds(Duration::ZERO));
    a.election.observe(lease("z", "6"), SECOND);
    a.election.observe_absence(7);
    assert!(a.holds(SECOND));
    a.election.observe(lease("z", "9"), SECOND);
    assert!(!a.holds(SECOND), "what is newer counts at once");
}

#[test]
fn a_write_whose_answer_was_lost_counts_from_its_beginning() {
    let (mut server, [mut a, _]) = (Server::default(), pair());
    a.election.read(None, Duration::ZERO);
    let Step::Write(action) = a.election.step(Duration::ZERO, a.wall) else {
        panic!("a free lease is not taken")
    };
    server.write(action);
    a.election.fail(Duration::ZERO);
    assert!(!a.holds(Duration::ZERO));
    a.turn(4 * SECOND, &mut server, true);
    // Its own Lease since the first attempt, then renewed.
    assert!(a.holds(13 * SECOND) && !a.holds(14 * SECOND));
    assert_eq!(server.version, 2);
}

#[test]
fn a_removed_lease_is_made_again() {
    let (mut server, [mut a, _]) = (Server::default(), pair());
    a.turn(Duration::ZERO, &mut server, true);
    server.lease = None;
    a.election.observe_absence(100);
    assert!(!a.holds(SECOND), "anybody may have it now");
    a.turn(2 * SECOND, &mut server, true);
    assert!(a.holds(2 * SECOND));
}

#[test]
fn odd_records_stop_no_replica_for_long() {
    for (seconds, wait) in [
        (None, 15),
        (Some(0), 15),
        (Some(i64::MAX), 15),
        (Some(60), 60),
    ] {
        let (mut server, [mut a, _]) = (Server::default(), pair());
        let mut lease = Lease::default();
        lease.metadata.resource_version = "1".to_owned();
        lease.spec.holder_identity = "z".to_owned();
        lease.spec.lease_duration_seconds = seconds;
        lease.spec.lease_transitions = Some(i64::MAX);
        server.lease = Some(lease);
        a.turn(Duration::ZERO, &mut server, true);
        a.turn((wait - 1) * SECOND, &mut server, true);
        assert!(!a.holds((wait - 1) * SECOND), "{seconds:?}");
        a.turn(wait * SECOND, &mut server, true);
        assert!(a.holds(wait * SECOND), "{seconds:?}");
    }
}

#[test]
fn the_time_that_passed_before_the_start_counts() {
    // The holder renewed for the last time at 0 and died.
    for (starts, waits) in [(0, 15), (5, 15), (6, 14), (12, 8), (16, 4), (3600, 4)] {
        let (mut server, [mut a, mut b]) = (Server::default(), synchronised());
        a.turn(Duration::ZERO, &mut server, true);
        let starts = starts * SECOND;
        b.turn(starts, &mut server, true);
        let taken = starts + waits * SECOND;
        let now = b.started + starts;
        assert_eq!(b.election.wait(now, b.wall + starts), waits * SECOND);
        b.turn(taken - SECOND / 10, &mut server, true);
        assert!(!b.holds(taken - SECOND / 10), "started at {starts:?}");
        b.turn(taken, &mut server, true);
        assert!(b.holds(taken), "started at {starts:?}");
    }
}

#[test]
fn a_holder_that_is_known_to_have_ended_is_followed_at_once() {
    let (mut server, [mut a, mut b]) = (Server::default(), pair());
    a.turn(Duration::ZERO, &mut server, true);
    b.turn(SECOND, &mut server, true);
    b.election.mark_gone("somebody else");
    b.turn(SECOND, &mut server, true);
    assert!(!b.holds(SECOND), "the holder may be alive");
    assert!(b.election.mark_gone("a"));
    assert!(!b.election.mark_gone("a"), "it is known");
    b.turn(SECOND, &mut server, true);
    assert!(b.holds(SECOND));
    assert_eq!(server.lease.unwrap().spec.holder_identity, "b");
}

/// Three replicas on two machines die, restart and lose their connection to the server, with clocks that differ by less
/// than the limit; a replica knows only of those that ended on its own machine.
#[test]
fn never_two_lead_and_eventually_one_does() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut server = Server::default();
        let mut names = 0;
        let walls = [0, -2, 2].map(|seconds| {
            let wall: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
            wall + jiff::SignedDuration::from_secs(seconds)
        });
        let mut start = |slot: usize, at: Duration| {
            names += 1;
            // Its own time starts now; its wall clock is that of its machine.
            let started = 7000 * SECOND - at;
            Replica {
                election: Election::new(format!("{slot}-{names}")),
                started,
                wall: walls[slot],
            }
        };
        let mut replicas: [Option<Replica>; 3] =
            std::array::from_fn(|slot| Some(start(slot, Duration::ZERO)));
        let mut reaches = [true; 3];
        let mut dead: Vec<(usize, String)> = Vec::new();
        for tenth in 0..1500 {
            let at = tenth * SECOND / 10;
            let calm = tenth > 1000;
            for slot in 0..3 {
                if calm {
                    reaches[slot] = true;
                } else if random.u8(..) < 2 {
                    reaches[slot] = !reaches[slot];
                }
                match &mut replicas[slot] {
                    Some(replica) if !calm && random.u8(..) < 2 => {
                        dead.push((slot, replica.election.identity.clone()));
                        replicas[slot] = None;
                    }
                    None if calm || random.u8(..) < 5 => replicas[slot] = Some(start(slot, at)),
                    Some(replica) => {
                        // The first two are on one machine.
                        let near = |other: &usize| *other == slot || (*other < 2 && slot < 2);
                        let holder = match replica.election.lease_state(at + replica.started) {
                            LeaseState::Follower { holder } => holder,
                            _ => String::new(),
                        };
                        if dead
                            .iter()
                            .any(|(other, name)| near(other) && *name == holder)
                        {
                            replica.election.mark_gone(&holder);
                        }
                        if let Some(lease) = server.lease.clone().filter(|_| reaches[slot]) {
                            replica.election.observe(lease, at + replica.started);
                        }
                        replica.turn(at, &mut server, reaches[slot]);
                    }
                    None => {}
                }
            }
            let holders = replicas
                .iter()
                .flatten()
                .filter(|one| one.holds(at))
                .count();
            assert!(holders < 2, "seed {seed}: {holders} at {at:?}");
            assert!(
                tenth < 1200 || holders == 1,
                "seed {seed}: nobody at {at:?}"
            );
        }
    }
}
