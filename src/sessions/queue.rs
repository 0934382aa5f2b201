//! All sessions together: which of them hold machines, which wait, and what a pass over them decides.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::admission::{self, Blocked, Discipline, Pass, Supply, Waiting};
use super::decide;
use super::marks::annotation;
use super::noun::Sessions;
use super::pools::{self, Held, Machine};
use super::rules::SessionRules;
use super::step::Step;
use super::view::View;
use crate::action::{Action, Mark, PodChange};
use crate::decision::{Decision, Together};
use crate::index::Index;
use crate::index::noun::Group;
use crate::proto::wsman::sessions::v1::{Phase, QueueStatus};

/// Fewest ended sessions that an estimate rests on.
const FEWEST_SAMPLES: usize = 3;

/// What all sessions hold and want, at one moment.
#[derive(Debug)]
pub struct Survey<'a> {
    rules: &'a SessionRules,
    /// Names of the pools, in the order of their places.
    names: Vec<String>,
    supplies: Vec<Supply>,
    /// Whether a pool has nodes or is configured; else only sessions name it.
    exist: Vec<bool>,
    queues: Vec<admission::Queue>,
    waiting: Vec<Waiting<'a>>,
    /// The groups of the waiting.
    groups: Vec<&'a Group<Sessions>>,
    /// Admitted, and all of their pods still have their gates.
    fresh: Vec<Fresh<'a>>,
    /// How long ended sessions ran after their admission, by the place of their queue.
    ran: Vec<Vec<SignedDuration>>,
}

#[derive(Debug)]
struct Fresh<'a> {
    group: &'a Group<Sessions>,
    needs: Vec<(usize, u32)>,
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
        let mut queues: Vec<_> = rules
            .queues
            .values()
            .map(|queue| admission::Queue {
                discipline: queue.discipline,
                limit: queue.limit,
                admitted: 0,
            })
            .collect();
        let fallback = queues.len();
        // Of a queue that is no longer configured.
        queues.push(admission::Queue {
            discipline: Discipline::Backfill {
                barrier: Duration::from_secs(600),
            },
            limit: None,
            admitted: 0,
        });
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

    /// Decides on all sessions at once: those that were admitted begin if there are machines for all of them, and those that
    /// wait are admitted to what is left.
    ///
    /// A leader whose lease has ended may have admitted others at the same moment. Their marks are known by now: a session
    /// is decided on when the watch has its newest version, and so everything that was written before. What does not fit
    /// together goes back into the queue before any of it begins.
    pub fn together(&self, now: Timestamp) -> Together<Step> {
        let mut free: Vec<u32> = self.supplies.iter().map(Supply::free).collect();
        let mut wanted = vec![0_u32; free.len()];
        for (pool, need) in self.fresh.iter().flat_map(|fresh| &fresh.needs) {
            wanted[*pool] += need;
        }
        let mut decisions = Vec::new();
        for fresh in &self.fresh {
            let fits = fresh
                .needs
                .iter()
                .all(|(pool, _)| wanted[*pool] <= free[*pool]);
            if fresh.group.is_ahead() {
                continue;
            }
            let decision = match fits {
                true => begin(fresh.group, now),
                false => withdraw(fresh.group),
            };
            decisions.push((Arc::clone(&fresh.group.key), decision));
        }
        for (free, wanted) in free.iter_mut().zip(&wanted) {
            *free = free.saturating_sub(*wanted);
        }
        let pass = self.pass(&free, now);
        for place in pass.admitted() {
            let group = self.groups[place];
            if !group.is_ahead() {
                decisions.push((Arc::clone(&group.key), admit(group, now)));
            }
        }
        Together {
            decisions,
            wake_at: self.next_barrier(&pass, now),
        }
    }

    fn pass(&self, free: &[u32], now: Timestamp) -> Pass {
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

    /// The earliest moment at which a session that waits lets nothing pass.
    fn next_barrier(&self, pass: &Pass, now: Timestamp) -> Option<Timestamp> {
        let barriers = self
            .waiting
            .iter()
            .zip(&pass.outcomes)
            .filter_map(|(waiting, outcome)| {
                let Discipline::Backfill { barrier } = self.queues[waiting.queue].discipline else {
                    return None;
                };
                let at = waiting.enqueued_at + barrier;
                (outcome.is_err() && at > now).then_some(at)
            });
        barriers.min()
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
        status.estimate = estimate.ok().and_then(|estimate| estimate.try_into().ok());
        status.samples = u32::try_from(ran.len()).unwrap_or(u32::MAX);
    }

    fn queue_name(&self, queue: usize) -> &str {
        let name = self.rules.queues.keys().nth(queue);
        name.map_or("", String::as_str)
    }

    /// Returns how many slots a session may need of a pool; `None` if there is no such pool.
    pub fn largest(&self, pool: &str) -> Option<u32> {
        let place = self.names.iter().position(|name| name == pool)?;
        self.exist[place].then(|| self.supplies[place].largest())
    }
}

/// How long an ended session held its machines.
fn sample(view: &View<'_>) -> Option<SignedDuration> {
    let admitted = view.anchor.admitted_at?;
    let ended = super::status::end(&view.lead.entry)?;
    Some(ended.duration_since(admitted))
}

/// Commits to the admission of a session.
fn admit(group: &Group<Sessions>, now: Timestamp) -> Decision<Step> {
    change(
        "admit",
        group,
        Mark::put(annotation::ADMITTED_AT, Some(now.to_string())),
    )
}

/// Puts an admitted session back that has not begun.
fn withdraw(group: &Group<Sessions>) -> Decision<Step> {
    change("withdraw", group, Mark::put(annotation::ADMITTED_AT, None))
}

fn change(rule: &'static str, group: &Group<Sessions>, mark: Mark) -> Decision<Step> {
    let lead = group.members().find(|member| *member.pod.uid == *group.key);
    let change = lead.map(|lead| {
        let change = PodChange::mark_at(lead.version.to_string(), mark);
        Action::ChangePod(lead.pod.clone(), change)
    });
    Decision {
        rule,
        actions: change.into_iter().collect(),
        ..Decision::default()
    }
}

/// Takes the gates off the workers of an admitted session; off its decider, if it has no others.
fn begin(group: &Group<Sessions>, now: Timestamp) -> Decision<Step> {
    let is_lead = |uid: &str| *uid == *group.key;
    let mut actions: Vec<_> = group
        .living()
        .filter(|member| !is_lead(&member.pod.uid))
        .map(decide::ungate)
        .collect();
    if actions.is_empty() {
        actions = group
            .living()
            .map(|lead| decide::release(lead, now))
            .collect();
    }
    Decision {
        rule: "begin",
        actions,
        ..Decision::default()
    }
}

/// Whether a phase is the last of its session.
pub fn is_terminal(phase: Phase) -> bool {
    matches!(phase, Phase::Succeeded | Phase::Failed | Phase::Cancelled)
}
