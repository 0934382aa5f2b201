//! All sessions together: which of them hold machines, and which wait.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use super::Sessions;
use super::admission::{self, Pass, Supply, Waiting};
use super::pools::{self, Held, Machine};
use super::rules::{QueueRules, SessionRules};
use super::view::View;
use crate::index::Index;
use crate::index::noun::Group;

/// What all sessions hold and want, at one moment.
#[derive(Debug)]
pub struct Survey<'a> {
    pub(super) rules: &'a SessionRules,
    /// Names of the pools, in the order of their places.
    pub(super) names: Vec<String>,
    pub(super) supplies: Vec<Supply>,
    /// Whether a pool has nodes or is configured; else only sessions name it.
    pub(super) exist: Vec<bool>,
    pub(super) queues: Vec<admission::Queue>,
    pub(super) waiting: Vec<Waiting<'a>>,
    /// The groups of the waiting.
    pub(super) groups: Vec<&'a Group<Sessions>>,
    /// Admitted, and all of their pods still have their gates.
    pub(super) fresh: Vec<Fresh<'a>>,
    /// How long ended sessions ran after their admission, by the place of their queue.
    pub(super) ran: Vec<Vec<SignedDuration>>,
}

/// A session that was admitted and has not begun.
#[derive(Debug)]
pub(super) struct Fresh<'a> {
    pub(super) group: &'a Group<Sessions>,
    pub(super) needs: Vec<(usize, u32)>,
}

/// What a pool has, wants and holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolView<'a> {
    pub name: &'a str,
    pub supply: Supply,
    /// Slots that waiting sessions need.
    pub queued: u32,
}

impl<'a> Survey<'a> {
    /// Looks at all sessions.
    pub fn of(index: &'a Index<Sessions>, rules: &'a SessionRules) -> Self {
        let machines: HashMap<String, Machine> = index
            .nodes()
            .filter_map(|node| {
                let machine = Machine::of(node, &rules.pools)?;
                Some((node.metadata.name.clone(), machine))
            })
            .collect();
        let queue_names: HashMap<&str, usize> =
            rules.queues.keys().map(String::as_str).zip(0..).collect();
        // The last one is for queues that are no longer configured.
        let unknown = QueueRules::default();
        let fallback = rules.queues.len();
        let mut queues: Vec<_> = rules
            .queues
            .values()
            .chain([&unknown])
            .map(|queue| admission::Queue {
                discipline: queue.discipline,
                limit: queue.limit,
                admitted: 0,
            })
            .collect();
        let mut held = Vec::new();
        let (mut waiting, mut fresh) = (Vec::new(), Vec::new());
        let mut ran = vec![Vec::new(); queues.len()];
        for group in index.visible() {
            let Some(view) = View::of(group) else {
                continue;
            };
            let queue = queue_names.get(view.anchor.spec.queue.as_str());
            let queue = queue.copied().unwrap_or(fallback);
            let is_over = view.is_over();
            let is_admitted = view.is_admitted();
            if is_admitted && !is_over {
                queues[queue].admitted += 1;
            }
            if is_over && let Some(ended) = sample(&view) {
                ran[queue].push(ended);
            }
            let is_fresh = is_admitted
                && !is_over
                && view.is_complete()
                && view.living().all(|member| member.entry.is_gated);
            for member in view.living().filter(|member| member.entry.holds_slot) {
                // What waits for its session to begin holds a machine as soon as that is admitted.
                if !member.entry.is_gated || is_admitted && !is_over && !is_fresh {
                    held.push(Held {
                        pool: &member.entry.pool,
                        node: &member.node,
                    });
                }
            }
            if is_fresh {
                fresh.push((group, view));
            } else if view.waits() && view.is_complete() {
                waiting.push((queue, group, view));
            }
        }
        let mut pools: BTreeMap<String, Supply> = pools::supplies(&machines, held, &rules.pools);
        let known: HashSet<String> = pools.keys().cloned().collect();
        for view in fresh
            .iter()
            .map(|(_, view)| view)
            .chain(waiting.iter().map(|(.., view)| view))
        {
            for seen in &view.seen {
                if !pools.contains_key(&seen.component.pool) {
                    pools.insert(seen.component.pool.clone(), Supply::default());
                }
            }
        }
        let (names, supplies): (Vec<_>, Vec<_>) = pools.into_iter().unzip();
        let exist = names.iter().map(|name| known.contains(name)).collect();
        let places: HashMap<&str, usize> = names.iter().map(String::as_str).zip(0..).collect();
        let needs = |view: &View<'_>| {
            let mut needs: Vec<(usize, u32)> = Vec::new();
            for seen in &view.seen {
                let Some(place) = places.get(seen.component.pool.as_str()) else {
                    continue;
                };
                match needs.iter_mut().find(|(pool, _)| pool == place) {
                    Some((_, count)) => *count += 1,
                    None => needs.push((*place, 1)),
                }
            }
            needs
        };
        let fresh = fresh
            .into_iter()
            .map(|(group, view)| Fresh {
                group,
                needs: needs(&view),
            })
            .collect();
        let groups = waiting.iter().map(|(_, group, _)| *group).collect();
        let waiting = waiting
            .into_iter()
            .map(|(queue, group, view)| Waiting {
                id: &group.name,
                queue,
                priority: view.anchor.spec.priority,
                enqueued_at: view.anchor.enqueued_at.unwrap_or_default(),
                needs: needs(&view),
            })
            .collect();
        drop(places);
        Self {
            rules,
            names,
            supplies,
            exist,
            queues,
            waiting,
            groups,
            fresh,
            ran,
        }
    }

    /// Returns the pools by name.
    pub fn pools(&self) -> impl Iterator<Item = PoolView<'_>> {
        let mut queued = vec![0_u32; self.names.len()];
        for (pool, need) in self.waiting.iter().flat_map(|waiting| &waiting.needs) {
            queued[*pool] += need;
        }
        for (pool, need) in self.fresh.iter().flat_map(|fresh| &fresh.needs) {
            queued[*pool] += need;
        }
        let all = self
            .names
            .iter()
            .zip(&self.supplies)
            .zip(queued)
            .zip(&self.exist);
        let all = all.filter(|(_, exists)| **exists).map(|(pool, _)| pool);
        all.map(|((name, supply), queued)| PoolView {
            name,
            supply: *supply,
            queued,
        })
    }

    /// Returns how many slots a session may need of a pool; `None` if there is no such pool.
    pub fn largest(&self, pool: &str) -> Option<u32> {
        let place = self.names.iter().position(|name| name == pool)?;
        self.exist[place].then(|| self.supplies[place].largest())
    }

    /// Admits to what is free, without doing anything.
    pub(super) fn pass(&self, free: &[u32], now: Timestamp) -> Pass {
        let supplies = self.supplies.iter().zip(free).map(|(supply, free)| Supply {
            in_use: supply.most().saturating_sub(*free),
            ..*supply
        });
        admission::pass(
            &supplies.collect::<Vec<_>>(),
            &self.queues,
            &self.waiting,
            now,
        )
    }
}

/// How long an ended session held its machines.
fn sample(view: &View<'_>) -> Option<SignedDuration> {
    let admitted = view.anchor.admitted_at?;
    let ended = super::status::end(&view.lead.entry)?;
    Some(ended.duration_since(admitted))
}
