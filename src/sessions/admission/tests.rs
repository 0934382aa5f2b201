//! Cases of the order, and laws that hold for every queue.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const BARRIER: Duration = Duration::from_secs(600);
const BACKFILL: Discipline = Discipline::Backfill { barrier: BARRIER };

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn queue(discipline: Discipline) -> Queue {
    Queue {
        discipline,
        limit: None,
        admitted: 0,
    }
}

fn pool(capacity: u32) -> Supply {
    Supply {
        capacity,
        ..Supply::default()
    }
}

/// A session of one pool.
fn waiting(id: &str, since: i64, need: u32) -> Waiting<'_> {
    Waiting {
        id,
        queue: 0,
        priority: 0,
        enqueued_at: at(since),
        needs: vec![(0, need)],
    }
}

fn admitted<'a>(
    pools: &[Supply],
    queues: &[Queue],
    waiting: &[Waiting<'a>],
    now: i64,
) -> Vec<&'a str> {
    let pass = pass(pools, queues, waiting, at(now));
    pass.admitted().map(|place| waiting[place].id).collect()
}

#[test]
fn all_that_fits_is_admitted_in_one_pass_in_order() {
    let queues = [queue(BACKFILL)];
    let sessions = [
        waiting("c", 2, 2),
        waiting("b", 1, 2),
        waiting("a", 1, 2),
        Waiting {
            priority: 1,
            ..waiting("late", 9, 2)
        },
    ];
    assert_eq!(
        admitted(&[pool(6)], &queues, &sessions, 10),
        ["late", "a", "b"]
    );
}

#[test]
fn a_session_is_admitted_whole_or_not_at_all() {
    let sessions = [Waiting {
        needs: vec![(0, 1), (1, 2)],
        ..waiting("a", 0, 0)
    }];
    let pass = pass(&[pool(5), pool(1)], &[queue(BACKFILL)], &sessions, at(1));
    assert_eq!(pass.outcomes, [Err(Blocked::Pool(1))]);
}

#[test]
fn backfill_passes_what_does_not_fit_until_the_barrier() {
    let queues = [queue(BACKFILL)];
    let sessions = [waiting("big", 0, 4), waiting("small", 1, 1)];
    assert_eq!(admitted(&[pool(3)], &queues, &sessions, 599), ["small"]);
    assert!(admitted(&[pool(3)], &queues, &sessions, 600).is_empty());
}

#[test]
fn the_barrier_is_for_the_pools_of_the_one_that_waits() {
    let queues = [queue(BACKFILL)];
    let elsewhere = Waiting {
        needs: vec![(1, 1)],
        ..waiting("elsewhere", 1, 0)
    };
    let sessions = [waiting("big", 0, 4), elsewhere];
    assert_eq!(
        admitted(&[pool(3), pool(1)], &queues, &sessions, 900),
        ["elsewhere"]
    );
}

#[test]
fn strict_passes_nothing_in_its_queue() {
    let queues = [queue(Discipline::Strict), queue(BACKFILL)];
    let other = Waiting {
        queue: 1,
        ..waiting("other", 2, 1)
    };
    let sessions = [waiting("big", 0, 4), waiting("small", 1, 1), other];
    assert_eq!(admitted(&[pool(3)], &queues, &sessions, 9), ["other"]);
}

#[test]
fn a_limit_counts_what_is_admitted_and_holds_up_no_machine() {
    let limited = Queue {
        limit: Some(2),
        admitted: 1,
        ..queue(BACKFILL)
    };
    let other = Waiting {
        queue: 1,
        ..waiting("other", 2, 1)
    };
    let sessions = [waiting("a", 0, 1), waiting("b", 0, 1), other];
    let queues = [limited, queue(BACKFILL)];
    assert_eq!(
        admitted(&[pool(9)], &queues, &sessions, 9_999),
        ["a", "other"]
    );
}

#[test]
fn an_elastic_pool_admits_beyond_its_machines() {
    let elastic = Supply {
        capacity: 1,
        in_use: 1,
        elastic: 2,
        size: 0,
    };
    let sessions = [waiting("a", 0, 2), waiting("b", 0, 1)];
    assert_eq!(
        admitted(&[elastic], &[queue(BACKFILL)], &sessions, 1),
        ["a"]
    );
}

#[test]
fn a_clock_that_ran_ahead_makes_no_barrier() {
    let sessions = [waiting("big", 5_000, 4), waiting("small", 5_001, 1)];
    assert_eq!(
        admitted(&[pool(3)], &[queue(BACKFILL)], &sessions, 0),
        ["small"]
    );
}

/// Queue, priority, time, and what it needs of which pool.
type Asked = (usize, i32, i64, Vec<(PoolIndex, u32)>);

/// A queue as it comes: what is admitted, and what the pools have.
#[derive(Debug, Clone)]
struct Case {
    pools: Vec<Supply>,
    queues: Vec<Queue>,
    sessions: Vec<Asked>,
    now: i64,
}

impl Case {
    fn waiting<'a>(&self, ids: &'a [String]) -> Vec<Waiting<'a>> {
        let sessions = self.sessions.iter().zip(ids);
        let waiting = sessions.map(|((queue, priority, since, needs), id)| Waiting {
            id,
            queue: *queue,
            priority: *priority,
            enqueued_at: at(*since),
            needs: needs.clone(),
        });
        waiting.collect()
    }

    fn ids(&self) -> Vec<String> {
        (0..self.sessions.len())
            .map(|n| format!("s{n:03}"))
            .collect()
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let pools = prop::collection::vec(
        (0..12u32, 0..14u32, 0..4u32).prop_map(|(capacity, in_use, elastic)| Supply {
            capacity,
            in_use,
            elastic,
            size: capacity,
        }),
        3,
    );
    let queues = prop::collection::vec(
        (any::<bool>(), prop::option::of(0..6u32), 0..4u32).prop_map(
            |(strict, limit, admitted)| {
                let discipline = match strict {
                    true => Discipline::Strict,
                    false => BACKFILL,
                };
                Queue {
                    discipline,
                    limit,
                    admitted,
                }
            },
        ),
        2,
    );
    let needs = prop::sample::subsequence(vec![0usize, 1, 2], 1..=3).prop_flat_map(|pools| {
        let counts = prop::collection::vec(1..6u32, pools.len());
        counts.prop_map(move |counts| pools.iter().copied().zip(counts).collect::<Vec<_>>())
    });
    let session = (0..2usize, -2..3i32, 0..1_500i64, needs);
    let sessions = prop::collection::vec(session, 0..40);
    (pools, queues, sessions, 0..2_000i64).prop_map(|(pools, queues, sessions, now)| Case {
        pools,
        queues,
        sessions,
        now,
    })
}

proptest! {
    #[test]
    fn nothing_is_overbooked(case in cases()) {
        let ids = case.ids();
        let waiting = case.waiting(&ids);
        let pass = pass(&case.pools, &case.queues, &waiting, at(case.now));
        for (index, supply) in case.pools.iter().enumerate() {
            let taken: u32 = pass.admitted().flat_map(|place| &waiting[place].needs)
                .filter(|(pool, _)| *pool == index).map(|(_, need)| need).sum();
            prop_assert!(taken <= supply.free());
        }
        for (index, queue) in case.queues.iter().enumerate() {
            let count = pass.admitted().filter(|place| waiting[*place].queue == index).count();
            let limit = queue.limit.map(|limit| limit.saturating_sub(queue.admitted));
            prop_assert!(limit.is_none_or(|limit| count <= limit as usize));
        }
    }

    /// What waits although there is room waits for a stated rule, and what it names is true.
    #[test]
    fn machines_are_left_idle_only_for_a_rule(case in cases()) {
        let ids = case.ids();
        let waiting = case.waiting(&ids);
        let pass = pass(&case.pools, &case.queues, &waiting, at(case.now));
        let mut free: Vec<u32> = case.pools.iter().map(Supply::free).collect();
        for place in pass.admitted() {
            for (pool, need) in &waiting[place].needs {
                free[*pool] -= need;
            }
        }
        for place in &pass.order {
            let session = &waiting[*place];
            let fits = session.needs.iter().all(|(pool, need)| free[*pool] >= *need);
            match pass.outcomes[*place] {
                Err(Blocked::Pool(pool)) => {
                    // Others may have left less since, never more.
                    prop_assert!(session.needs.iter().any(|(short, need)| *short == pool && free[pool] < *need));
                    prop_assert!(!fits);
                }
                Err(Blocked::Barrier { pool, behind }) => {
                    prop_assert!(session.needs.iter().any(|(needed, _)| *needed == pool));
                    prop_assert!(case.now - case.sessions[behind].2 >= BARRIER.as_secs() as i64);
                    prop_assert!(pass.outcomes[behind].is_err());
                }
                Err(Blocked::Order { behind }) => {
                    prop_assert_eq!(case.queues[session.queue].discipline, Discipline::Strict);
                    prop_assert_eq!(waiting[behind].queue, session.queue);
                    prop_assert!(pass.outcomes[behind].is_err());
                }
                Err(Blocked::Limit) => prop_assert!(case.queues[session.queue].limit.is_some()),
                Ok(()) => {}
            }
        }
    }

    #[test]
    fn the_order_of_events_does_not_matter(case in cases(), seed in any::<u64>()) {
        let ids = case.ids();
        let waiting = case.waiting(&ids);
        let mut shuffled = waiting.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        let set = |waiting: &[Waiting<'_>]| {
            let pass = pass(&case.pools, &case.queues, waiting, at(case.now));
            pass.admitted().map(|place| waiting[place].id.to_owned()).collect::<BTreeSet<_>>()
        };
        prop_assert_eq!(set(&waiting), set(&shuffled));
    }

    /// A daemon that dies after any of its admissions goes on with the rest: those admitted count as taken.
    #[test]
    fn a_restart_at_any_point_admits_the_same(case in cases(), cut in 0..40usize) {
        let ids = case.ids();
        let waiting = case.waiting(&ids);
        let whole: Vec<usize> = pass(&case.pools, &case.queues, &waiting, at(case.now)).admitted().collect();
        let done: BTreeSet<usize> = whole.iter().copied().take(cut).collect();
        let (mut pools, mut queues) = (case.pools.clone(), case.queues.clone());
        for place in &done {
            for (pool, need) in &waiting[*place].needs {
                pools[*pool].in_use += need;
            }
            queues[waiting[*place].queue].admitted += 1;
        }
        let places: Vec<usize> = (0..waiting.len()).filter(|place| !done.contains(place)).collect();
        let left: Vec<_> = places.iter().map(|place| waiting[*place].clone()).collect();
        let again = pass(&pools, &queues, &left, at(case.now));
        let rest: BTreeSet<usize> = again.admitted().map(|place| places[place]).collect();
        let expected: BTreeSet<usize> = whole.into_iter().skip(cut).collect();
        prop_assert_eq!(rest, expected);
    }

    /// Once the first has waited for as long as the barrier, nothing takes a slot of its pools before it.
    #[test]
    fn nothing_starves_beyond_the_barrier(case in cases()) {
        let ids = case.ids();
        let waiting = case.waiting(&ids);
        let pass = pass(&case.pools, &case.queues, &waiting, at(case.now));
        let aged = pass.order.iter().position(|place| {
            matches!(pass.outcomes[*place], Err(Blocked::Pool(_)))
                && case.queues[waiting[*place].queue].discipline == BACKFILL
                && case.now - case.sessions[*place].2 >= BARRIER.as_secs() as i64
        });
        if let Some(aged) = aged {
            let pools: BTreeSet<_> = waiting[pass.order[aged]].needs.iter().map(|(pool, _)| *pool).collect();
            for place in &pass.order[aged + 1..] {
                let shares = waiting[*place].needs.iter().any(|(pool, _)| pools.contains(pool));
                prop_assert!(!shares || pass.outcomes[*place].is_err());
            }
        }
    }
}
