//! Who may start now: the queue in its order, the machines of the pools, and one pass that admits everything that fits.
//!
//! Nothing is remembered between passes. The order is that of priority, time and id, so a pass gives the same answer on any
//! replica and after a restart, whatever the order of events was.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Which pool, by its place in the list that a pass gets.
pub type PoolIndex = usize;
/// Which queue, by its place in the list that a pass gets.
pub type QueueIndex = usize;

/// What a pool has and what is taken of it, in slots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Supply {
    /// Slots of nodes that take pods.
    pub capacity: u32,
    /// Slots that admitted members hold, those that still end included.
    pub in_use: u32,
    /// Slots of all nodes, also of those that take no pods now.
    pub size: u32,
    /// Slots that may be asked for beyond the capacity, so that an autoscaler sees the pods.
    pub elastic: u32,
}

impl Supply {
    /// Returns how many slots can be admitted to now. More may be in use than there is: nodes go.
    pub fn free(&self) -> u32 {
        self.most().saturating_sub(self.in_use)
    }

    /// Returns how many slots there are for one session, when all nodes take pods again.
    pub fn largest(&self) -> u32 {
        self.size.max(self.capacity).saturating_add(self.elastic)
    }

    /// Returns how many slots can be admitted to together.
    pub fn most(&self) -> u32 {
        self.capacity.saturating_add(self.elastic)
    }
}

/// In which way a queue is walked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discipline {
    /// What fits passes what does not, until that has waited for as long as `barrier`: then nothing behind it gets a slot of
    /// its pools.
    Backfill { barrier: Duration },
    /// Nothing of the queue passes what does not fit.
    Strict,
}

/// A queue, and how much of it is admitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    pub discipline: Discipline,
    /// Most sessions that are admitted at a time; `None`: any number.
    pub limit: Option<u32>,
    /// Sessions that are admitted and have not ended.
    pub admitted: u32,
}

/// A session that waits: all its members are there, and none was admitted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting<'a> {
    pub id: &'a str,
    pub queue: QueueIndex,
    /// The higher, the earlier.
    pub priority: i32,
    pub enqueued_at: Timestamp,
    /// How many slots of which pool it needs; each pool once.
    pub needs: Vec<(PoolIndex, u32)>,
}

/// Why a session waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// A pool has too few free slots.
    Pool(PoolIndex),
    /// A session ahead has waited for so long that nothing passes it on this pool.
    Barrier { pool: PoolIndex, behind: usize },
    /// A session ahead in its queue does not fit, and nothing passes it.
    Order { behind: usize },
    /// As many of its queue are admitted as may be.
    Limit,
}

/// What a pass came to, for the session at the same place of the queue.
pub type Outcome = Result<(), Blocked>;

/// The queue in its order, and what became of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pass {
    /// Places in the list of the waiting, in the order of the queue.
    pub order: Vec<usize>,
    /// By place in the list of the waiting. A `behind` in it is such a place, too.
    pub outcomes: Vec<Outcome>,
}

impl Pass {
    /// Returns the places of those that may start, in the order of the queue.
    pub fn admitted(&self) -> impl Iterator<Item = usize> {
        let admitted = |place: &usize| self.outcomes[*place].is_ok();
        self.order.iter().copied().filter(admitted)
    }
}

/// Walks the queue once. Slots only become fewer on the way, so nothing that did not fit fits later.
pub fn pass(pools: &[Supply], queues: &[Queue], waiting: &[Waiting<'_>], now: Timestamp) -> Pass {
    let mut order: Vec<usize> = (0..waiting.len()).collect();
    order.sort_unstable_by_key(|place| {
        let waiting = &waiting[*place];
        (Reverse(waiting.priority), waiting.enqueued_at, waiting.id)
    });
    let mut walk = Walk {
        free: pools.iter().map(Supply::free).collect(),
        admitted: queues.iter().map(|queue| queue.admitted).collect(),
        barriers: HashMap::new(),
        blocked: HashMap::new(),
    };
    let mut outcomes = vec![Ok(()); waiting.len()];
    for place in &order {
        let session = &waiting[*place];
        let queue = &queues[session.queue];
        let outcome = walk.admit(session, queue);
        if let Err(why) = outcome {
            walk.block(*place, session, queue, why, now);
        }
        outcomes[*place] = outcome;
    }
    Pass { order, outcomes }
}

struct Walk {
    free: Vec<u32>,
    admitted: Vec<u32>,
    /// Pools on which nothing passes a session, and which.
    barriers: HashMap<PoolIndex, usize>,
    /// Queues in which nothing passes a session, and which.
    blocked: HashMap<QueueIndex, usize>,
}

impl Walk {
    fn admit(&mut self, session: &Waiting<'_>, queue: &Queue) -> Outcome {
        if let Some(behind) = self.blocked.get(&session.queue) {
            return Err(Blocked::Order { behind: *behind });
        }
        let admitted = &mut self.admitted[session.queue];
        if queue.limit.is_some_and(|limit| *admitted >= limit) {
            return Err(Blocked::Limit);
        }
        for (pool, _) in &session.needs {
            if let Some(behind) = self.barriers.get(pool) {
                let (pool, behind) = (*pool, *behind);
                return Err(Blocked::Barrier { pool, behind });
            }
        }
        let short = session
            .needs
            .iter()
            .find(|(pool, need)| self.free[*pool] < *need);
        if let Some((pool, _)) = short {
            return Err(Blocked::Pool(*pool));
        }
        for (pool, need) in &session.needs {
            self.free[*pool] -= need;
        }
        *admitted += 1;
        Ok(())
    }

    /// Lets what does not fit hold up others. What waits for its queue's limit holds up no machine.
    fn block(
        &mut self,
        place: usize,
        session: &Waiting<'_>,
        queue: &Queue,
        why: Blocked,
        now: Timestamp,
    ) {
        match queue.discipline {
            Discipline::Strict => {
                self.blocked.entry(session.queue).or_insert(place);
            }
            Discipline::Backfill { barrier } => {
                let lacks_machines = matches!(why, Blocked::Pool(_) | Blocked::Barrier { .. });
                let waited = now.duration_since(session.enqueued_at);
                let is_aged =
                    SignedDuration::try_from(barrier).is_ok_and(|barrier| waited >= barrier);
                if lacks_machines && is_aged {
                    for (pool, _) in &session.needs {
                        self.barriers.entry(*pool).or_insert(place);
                    }
                }
            }
        }
    }
}
