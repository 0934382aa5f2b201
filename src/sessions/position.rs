//! Where sessions stand in their queue, and how long they will probably wait. Computed on read, never written.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::admission::{Blocked, Supply, Waiting};
use super::survey::Survey;
use crate::proto::wsman::sessions::v1::{QueueStatus, SessionSpec};

/// Fewest ended sessions that an estimate rests on.
const FEWEST_SAMPLES: usize = 3;

impl<'a> Survey<'a> {
    /// Returns where each waiting session stands, by its id.
    pub fn positions(&self, now: Timestamp) -> HashMap<&'a str, QueueStatus> {
        let free: Vec<u32> = self.supplies.iter().map(Supply::free).collect();
        let pass = self.pass(&free, now);
        let mut positions = HashMap::new();
        let mut of_queue: HashMap<usize, u32> = HashMap::new();
        // By pool: sessions and machines ahead.
        let mut ahead = vec![(0_u32, 0_u32); self.names.len()];
        for place in &pass.order {
            let waiting = &self.waiting[*place];
            let position = of_queue.entry(waiting.queue).or_default();
            *position += 1;
            let widest = waiting.needs.iter().map(|(pool, _)| ahead[*pool]).max();
            let (sessions_ahead, machines_ahead) = widest.unwrap_or_default();
            let mut status = QueueStatus {
                queue: self.queue_name(waiting.queue).to_owned(),
                position: *position,
                sessions_ahead,
                machines_ahead,
                ..QueueStatus::default()
            };
            let id_of = |place: usize| self.waiting[place].id.to_owned();
            match pass.outcomes[*place] {
                Ok(()) => {}
                Err(Blocked::Pool(pool)) => self.names[pool].clone_into(&mut status.blocking_pool),
                Err(Blocked::Barrier { pool, behind }) => {
                    self.names[pool].clone_into(&mut status.blocking_pool);
                    status.blocking_session = id_of(behind);
                }
                Err(Blocked::Order { behind }) => status.blocking_session = id_of(behind),
                Err(Blocked::Limit) => status.at_limit = true,
            }
            self.estimate(waiting, &ahead, &mut status);
            for (pool, need) in &waiting.needs {
                ahead[*pool].0 += 1;
                ahead[*pool].1 += need;
            }
            positions.insert(waiting.id, status);
        }
        positions
    }

    /// Says how long it will probably take, from how long ended sessions of the queue held their machines: the machines
    /// that it and those ahead of it need are freed at the rate at which the pool turns over.
    fn estimate(&self, waiting: &Waiting<'_>, ahead: &[(u32, u32)], status: &mut QueueStatus) {
        let ran = &self.ran[waiting.queue];
        if ran.len() < FEWEST_SAMPLES {
            return;
        }
        let total: f64 = ran.iter().map(SignedDuration::as_secs_f64).sum();
        let mean = total / ran.len() as f64;
        let turns = waiting.needs.iter().map(|(pool, need)| {
            let supply = &self.supplies[*pool];
            let lacking = (ahead[*pool].1 + need).saturating_sub(supply.free());
            f64::from(lacking) / f64::from(supply.most().max(1))
        });
        let turns = turns.fold(0.0, f64::max);
        let estimate = Duration::try_from_secs_f64((mean * turns).round());
        status.estimate = estimate.ok().map(Into::into);
        status.samples = u32::try_from(ran.len()).unwrap_or(u32::MAX);
    }

    /// Returns where a session would stand that is started now.
    pub fn position_of(mut self, id: &'a str, spec: &SessionSpec, now: Timestamp) -> QueueStatus {
        let mut queues = self.rules.queues.keys();
        let queue = queues.position(|name| *name == spec.queue);
        let mut needs: BTreeMap<usize, u32> = BTreeMap::new();
        for component in &spec.components {
            let place = self.names.iter().position(|name| *name == component.pool);
            if let Some(place) = place {
                *needs.entry(place).or_default() += 1;
            }
        }
        self.waiting.push(Waiting {
            id,
            // The last one is that of queues that are not configured.
            queue: queue.unwrap_or(self.queues.len() - 1),
            priority: spec.priority,
            enqueued_at: now,
            needs: needs.into_iter().collect(),
        });
        self.positions(now).remove(id).unwrap_or_default()
    }

    fn queue_name(&self, queue: usize) -> &str {
        let name = self.rules.queues.keys().nth(queue);
        name.map_or("", String::as_str)
    }
}
