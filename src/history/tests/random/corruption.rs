//! One corruption of a good history, and the violation that it causes.

use super::*;

/// An update: in which stretch of which consumer's streams, and of which server.
struct Place<'a> {
    index: usize,
    who: &'a str,
    stretch: usize,
    server: String,
    state: &'a State,
}

fn places(history: &[Observation]) -> Vec<Place<'_>> {
    let mut stretches: BTreeMap<&str, (usize, String)> = BTreeMap::new();
    let mut places = Vec::new();
    for (index, Observation { who, saw, .. }) in history.iter().enumerate() {
        match saw {
            Saw::Opening(begin) if begin.channel == Channel::Stream => {
                let stretch = stretches.entry(who).or_default();
                stretch.0 += usize::from(!begin.resumes);
                stretch.1.clone_from(&begin.server);
            }
            Saw::Update(state) => {
                if let Some((stretch, server)) = stretches.get(who.as_str()) {
                    places.push(Place {
                        index,
                        who,
                        stretch: *stretch,
                        server: server.clone(),
                        state,
                    });
                }
            }
            _ => {}
        }
    }
    places
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Corruption {
    DropLast,
    Duplicate,
    Swap,
    Revive,
    Misdeliver,
    ListOlder,
}

/// Corrupts a history at a random possible place, and returns what must be found.
pub(super) fn corrupt(
    history: &[Observation],
    how: Corruption,
    pick: usize,
) -> Option<(Vec<Observation>, Vec<Kind>)> {
    let places = places(history);
    let next = |place: &Place<'_>| {
        let mut later = places.iter().filter(|other| other.index > place.index);
        let of = (place.who, place.stretch);
        let id = place.state.id.clone();
        later
            .find(|other| (other.who, other.stretch) == of && other.state.id == id)
            .map(|other| other.index)
    };
    let choose = |candidates: Vec<(usize, usize)>| {
        (!candidates.is_empty()).then(|| candidates[pick % candidates.len()])
    };
    let update = |index: usize| match &history[index].saw {
        Saw::Update(state) => state.clone(),
        _ => unreachable!(),
    };
    let insert = |after: usize, state: State| {
        let mut corrupted = history.to_vec();
        let copy = Observation {
            saw: Saw::Update(state),
            ..corrupted[after].clone()
        };
        corrupted.insert(after + 1, copy);
        corrupted
    };
    let all = || places.iter().map(|place| (place.index, place.index));
    match how {
        Corruption::DropLast => {
            // Known before in this stretch, and not from a list afterwards.
            let pairs = places.iter().filter_map(|place| {
                let last = next(place)?;
                let state = update(last);
                let later = places.iter().any(|other| {
                    other.who == place.who && other.index > last && other.state.id == state.id
                });
                let listed = history.iter().any(|observation| match &observation.saw {
                    Saw::Listed { states } if observation.who == place.who => {
                        let held =
                            |held: &State| held.id == state.id && held.version >= state.version;
                        states.iter().any(held)
                    }
                    _ => false,
                });
                let stretch = places.iter().filter(|other| other.who == place.who);
                let ends = stretch.map(|other| other.stretch).max() == Some(place.stretch);
                let same = state.start == place.state.start;
                (!later && !listed && ends && same && lasts(history, last)).then_some((last, last))
            });
            let (last, _) = choose(pairs.collect())?;
            let mut corrupted = history.to_vec();
            corrupted.remove(last);
            Some((corrupted, vec![Kind::Lost, Kind::StoppedMissing]))
        }
        Corruption::Duplicate => {
            let (index, _) = choose(all().collect())?;
            let kinds = vec![Kind::Repeated, Kind::StoppedTwice];
            Some((insert(index, update(index)), kinds))
        }
        Corruption::Swap => {
            let pairs = places
                .iter()
                .filter_map(|place| Some((place.index, next(place)?)));
            let (one, two) = choose(pairs.collect())?;
            let mut corrupted = history.to_vec();
            (corrupted[one].saw, corrupted[two].saw) =
                (corrupted[two].saw.clone(), corrupted[one].saw.clone());
            Some((corrupted, vec![Kind::Reordered]))
        }
        Corruption::Revive => {
            let ends = all().filter(|(index, _)| update(*index).is_stopped());
            let (index, _) = choose(ends.collect())?;
            let mut state = update(index);
            state.version += 1;
            state.phase = WorkspacePhase::Running;
            state.content = "revived".to_owned();
            Some((insert(index, state), vec![Kind::Resurrected]))
        }
        Corruption::Misdeliver => {
            let filtered = places.iter().filter(|place| place.who == "jane");
            let (index, _) = choose(filtered.map(|place| (place.index, 0)).collect())?;
            let mut state = update(index);
            state.owner = "joe".to_owned();
            Some((insert(index, state), vec![Kind::WrongFilter]))
        }
        Corruption::ListOlder => {
            let mut candidates = Vec::new();
            for (index, observation) in history.iter().enumerate() {
                let (Saw::Listed { states }, Saw::Asked { server, .. }) =
                    (&observation.saw, &history[index.saturating_sub(1)].saw)
                else {
                    continue;
                };
                for (entry, state) in states.iter().enumerate() {
                    let before = places.iter().rev().any(|place| {
                        place.index < index
                            && place.server == *server
                            && place.state.id == state.id
                            && place.state.start == state.start
                    });
                    if before {
                        candidates.push((index, entry));
                    }
                }
            }
            let (index, entry) = choose(candidates)?;
            let mut corrupted = history.to_vec();
            if let Saw::Listed { states } = &mut corrupted[index].saw {
                states[entry].version = 1;
            }
            Some((corrupted, vec![Kind::Regress]))
        }
    }
}

/// Whether the stream of the update at `index` was not cut afterwards, or was resumed.
fn lasts(history: &[Observation], index: usize) -> bool {
    let who = &history[index].who;
    history[index..].iter().all(|observation| {
        observation.who != *who
            || !matches!(&observation.saw, Saw::Opening(begin) if !begin.resumes)
    })
}
