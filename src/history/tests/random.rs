//! Random good histories have no violation; each corruption causes one.
//!
//! A model generates them: one log of states, two servers that read it up to some position, and consumers that received
//! it up to some position, may skip a state that a later one of the same start replaces, and lose their connection now
//! and then.

mod corruption;

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::history::{Begin, Channel, Kind, Observation, Saw, State, check};
use crate::proto::wsman::{MetadataFilter, WorkspacePhase};
use corruption::{Corruption, corrupt};

const IDS: [&str; 4] = ["w0", "w1", "w2", "w3"];
const SERVERS: [&str; 2] = ["a", "b"];
const PHASES: [WorkspacePhase; 5] = [
    WorkspacePhase::Pending,
    WorkspacePhase::Creating,
    WorkspacePhase::Running,
    WorkspacePhase::Stopping,
    WorkspacePhase::Stopped,
];

#[derive(Clone)]
enum Event {
    /// A state; a silent one is new only to lists, because its content is the same as before.
    State {
        state: State,
        silent: bool,
    },
    Gone(&'static str),
}

struct Consumer {
    name: &'static str,
    channel: Channel,
    filter: Option<MetadataFilter>,
    server: usize,
    cursor: usize,
    open: bool,
    received: Vec<State>,
}

struct Model {
    log: Vec<Event>,
    version: u64,
    workspaces: BTreeMap<&'static str, State>,
    servers: [usize; 2],
    consumers: Vec<Consumer>,
    history: Vec<Observation>,
    now: Timestamp,
}

impl Model {
    fn new() -> Self {
        let consumer = |name, channel, filter| Consumer {
            name,
            channel,
            filter,
            server: 0,
            cursor: 0,
            open: false,
            received: Vec::new(),
        };
        let jane = MetadataFilter {
            owner: "jane".to_owned(),
            ..MetadataFilter::default()
        };
        Self {
            log: Vec::new(),
            version: 1,
            workspaces: BTreeMap::new(),
            servers: [0; 2],
            consumers: vec![
                consumer("all", Channel::Stream, None),
                consumer("jane", Channel::Stream, Some(jane)),
                consumer("other", Channel::Stream, None),
                consumer("bus", Channel::Bus, None),
            ],
            history: Vec::new(),
            now: "2026-03-01T10:00:00Z".parse().unwrap(),
        }
    }

    fn record(&mut self, who: &str, saw: Saw) {
        self.now += SignedDuration::from_millis(10);
        self.history.push(Observation {
            at: self.now,
            who: who.to_owned(),
            saw,
        });
    }

    /// Changes a workspace.
    fn happen(&mut self, which: u8, how: u8) {
        let id = IDS[usize::from(which) % IDS.len()];
        self.version += 1 + u64::from(how % 3);
        let version = self.version;
        let event = match self.workspaces.get(id) {
            None => {
                let state = State {
                    id: id.to_owned(),
                    version,
                    phase: PHASES[0],
                    content: format!("c{version}"),
                    start: Some(format!("s{version}")),
                    message_id: None,
                    session: None,
                    owner: if which & 1 == 0 { "jane" } else { "joe" }.to_owned(),
                    meta_id: String::new(),
                    annotations: BTreeMap::new(),
                };
                Event::State {
                    state,
                    silent: false,
                }
            }
            Some(before) if before.phase == WorkspacePhase::Stopped => Event::Gone(id),
            Some(before) if how.is_multiple_of(4) => Event::State {
                state: State {
                    version,
                    ..before.clone()
                },
                silent: true,
            },
            Some(before) => {
                let phase = PHASES.iter().position(|phase| *phase == before.phase);
                let next = (phase.unwrap() + usize::from(how % 3)).min(PHASES.len() - 1);
                Event::State {
                    state: State {
                        version,
                        phase: PHASES[next],
                        content: format!("c{version}"),
                        ..before.clone()
                    },
                    silent: false,
                }
            }
        };
        match &event {
            Event::State { state, .. } => drop(self.workspaces.insert(id, state.clone())),
            Event::Gone(id) => drop(self.workspaces.remove(id)),
        }
        self.log.push(event);
    }

    fn list(&mut self, who: &str, server: usize, filter: Option<MetadataFilter>) {
        let asked = Saw::Asked {
            server: SERVERS[server].to_owned(),
            filter: filter.clone(),
        };
        self.record(who, asked);
        let mut states = BTreeMap::new();
        for event in &self.log[..self.servers[server]] {
            match event {
                Event::State { state, .. } => drop(states.insert(state.id.as_str(), state.clone())),
                Event::Gone(id) => drop(states.remove(id)),
            }
        }
        let states = states.into_values();
        let states = states
            .filter(|state| state.passes(filter.as_ref()))
            .collect();
        self.record(who, Saw::Listed { states });
    }

    fn open(&mut self, index: usize, server: usize, resumes: bool) {
        let consumer = &mut self.consumers[index];
        let (name, channel, filter) = (consumer.name, consumer.channel, consumer.filter.clone());
        let resumes = resumes && consumer.server != usize::MAX && !consumer.received.is_empty();
        let again = !consumer.received.is_empty();
        consumer.server = server;
        consumer.open = true;
        if channel == Channel::Bus && again {
            // The queue keeps messages; what was not acknowledged is delivered again.
            let repeats: Vec<_> = consumer
                .received
                .iter()
                .rev()
                .take(3)
                .rev()
                .cloned()
                .collect();
            self.record(name, Saw::Reconnected {});
            for state in repeats {
                self.record(name, Saw::Update(state));
            }
            return;
        }
        if !resumes && channel == Channel::Stream {
            consumer.cursor = self.servers[server];
        }
        let begin = Begin {
            server: SERVERS[server].to_owned(),
            filter: filter.clone(),
            resumes,
            channel,
        };
        self.record(name, Saw::Opening(begin));
        if channel == Channel::Stream && !resumes {
            self.list(name, server, filter);
        }
    }

    /// Sends a consumer the next state that it does not skip; returns whether there was one.
    fn deliver(&mut self, index: usize, skips: bool) -> bool {
        let consumer = &mut self.consumers[index];
        let known = self.servers[consumer.server];
        while consumer.open && consumer.cursor < known {
            let event = self.log[consumer.cursor].clone();
            consumer.cursor += 1;
            let Event::State {
                mut state,
                silent: false,
            } = event
            else {
                continue;
            };
            let rest = &self.log[consumer.cursor..known];
            let replaced = rest.iter().any(|event| {
                matches!(event, Event::State { state: later, silent: false }
                    if later.id == state.id && later.start == state.start)
            });
            if !state.passes(consumer.filter.as_ref()) || (skips && replaced) {
                continue;
            }
            if consumer.channel == Channel::Bus {
                state.message_id = Some(format!("{}@{}", state.id, state.version));
            }
            consumer.received.push(state.clone());
            let name = consumer.name;
            self.record(name, Saw::Update(state));
            return true;
        }
        false
    }

    /// Delivers everything to every consumer.
    fn calm(&mut self) {
        self.servers = [self.log.len(); 2];
        for index in 0..self.consumers.len() {
            while self.deliver(index, false) {}
        }
    }

    fn step(&mut self, [what, which, how]: [u8; 3]) {
        let index = usize::from(which) % self.consumers.len();
        let server = usize::from(how) % 2;
        match what % 16 {
            0..=6 => self.happen(which, how),
            7 | 8 => {
                let ahead = (self.servers[server] + usize::from(which % 8)).min(self.log.len());
                self.servers[server] = ahead;
            }
            9..=12 => drop(self.deliver(index, how & 1 == 0)),
            13 => self.list("list", server, None),
            14 if self.consumers[index].open => {
                self.consumers[index].open = false;
                let (name, channel) = (self.consumers[index].name, self.consumers[index].channel);
                if channel == Channel::Stream {
                    let why = "cut".to_owned();
                    self.record(name, Saw::Ended { why });
                }
            }
            14 => self.open(index, server, how & 2 == 0),
            _ => {
                self.calm();
                self.now += SignedDuration::from_secs(11);
            }
        }
    }

    /// Runs a model by random decisions until everything is settled.
    fn run(tape: &[[u8; 3]]) -> Vec<Observation> {
        let mut model = Self::new();
        for index in 0..model.consumers.len() {
            model.open(index, index % 2, false);
        }
        for decision in tape {
            model.step(*decision);
        }
        for index in 0..model.consumers.len() {
            if !model.consumers[index].open {
                model.open(index, index % 2, false);
            }
        }
        model.calm();
        for server in 0..2 {
            model.list("list", server, None);
        }
        let settled = Saw::Settled {
            until: None,
            channel: None,
        };
        model.record("run", settled);
        model.history
    }
}

/// A broker that was away sends the updates of a workspace that started and ended before a stream did.
#[test]
fn a_late_message_accuses_no_stream() {
    #[rustfmt::skip]
    let tape = [
        [112, 12, 0], [46, 91, 0], [32, 52, 11], [94, 102, 0], [110, 145, 0], [16, 212, 2], [206, 10, 0], [32, 152, 0],
        [16, 180, 0], [14, 86, 0], [96, 144, 235], [128, 12, 223], [16, 12, 163], [48, 4, 169], [238, 20, 0], [80, 84, 0],
        [47, 0, 0], [158, 84, 0], [111, 0, 0],
    ];
    assert_eq!(check(&Model::run(&tape)), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_good_history_violates_nothing(tape in vec(any::<[u8; 3]>(), 0..200)) {
        prop_assert_eq!(check(&Model::run(&tape)), vec![]);
    }

    #[test]
    fn one_corruption_is_found(tape in vec(any::<[u8; 3]>(), 40..200), how in 0..6_usize, pick: usize) {
        let how = [
            Corruption::DropLast,
            Corruption::Duplicate,
            Corruption::Swap,
            Corruption::Revive,
            Corruption::Misdeliver,
            Corruption::ListOlder,
        ][how];
        let corrupted = corrupt(&Model::run(&tape), how, pick);
        prop_assume!(corrupted.is_some(), "a short history may have no place for it");
        let (history, kinds) = corrupted.unwrap_or_default();
        let found: Vec<_> = check(&history).iter().map(|violation| violation.kind).collect();
        prop_assert!(found.iter().any(|kind| kinds.contains(kind)), "{how:?}: {found:?}");
    }
}
