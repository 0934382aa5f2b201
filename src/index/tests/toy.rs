//! The laws of the index, on a noun that has nothing of a workspace: two pods to a group, and a status of both.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::sync::Arc;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::relist;
use crate::action::PodRef;
use crate::decision::Decision;
use crate::index::noun::Group;
use crate::index::noun::{About, Membership, Noun};
use crate::index::observed::Observed;
use crate::index::{Index, reference};
use crate::objects::Pod;
use crate::updates::Update as _;
use crate::updates::toy::Toy;

/// A pair of pods: `left` is the anchor, `right` belongs to it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Pair;

/// The phase of a pod.
#[derive(Debug, Clone, PartialEq)]
struct Half {
    group: String,
    phase: String,
}

impl Noun for Pair {
    const KIND: &'static str = "pair";

    type Defaults = u64;
    type Entry = Half;
    type Update = Toy;
    type Policy = ();
    type Step = Infallible;
    type Case = ();

    fn membership(pod: &Pod) -> Option<Membership> {
        let meta = &pod.metadata;
        meta.label("pair")?;
        Some(match meta.owner_references.first() {
            None => Membership {
                anchor: reference(pod),
                rank: 0,
            },
            Some(owner) => Membership {
                anchor: PodRef {
                    name: owner.name.clone(),
                    uid: owner.uid.clone(),
                },
                rank: 1,
            },
        })
    }

    fn read(observed: &Observed<'_>, _: &u64) -> Half {
        Half {
            group: observed
                .pod
                .metadata
                .label("pair")
                .unwrap_or_default()
                .to_owned(),
            phase: observed.pod.status.phase.clone(),
        }
    }

    fn id(group: &Group<Self>) -> &str {
        &group.newest().entry.group
    }

    /// It has ended when one of both is gone.
    fn fold(group: &Group<Self>, offset: &u64) -> Toy {
        let version = group
            .living()
            .map(|member| member.version)
            .max()
            .unwrap_or(0);
        let phases: Vec<_> = group
            .living()
            .map(|half| half.entry.phase.as_str())
            .collect();
        Toy {
            uid: group.key.clone(),
            owner: match phases.as_slice() {
                ["Running", "Running"] => "both run",
                _ => "one waits",
            },
            is_last: group.newest().gone || group.living().next().is_none(),
            ..Toy::new(&group.newest().entry.group, version + offset)
        }
    }

    fn version_offset(offset: &u64) -> u64 {
        *offset
    }

    fn decide(
        &self,
        _: &Index<Self>,
        _: &str,
        (): &(),
        _: Timestamp,
    ) -> Option<Decision<Infallible>> {
        None
    }

    fn case(&self, _: &Index<Self>, _: &str, (): &(), _: Timestamp) {}

    fn about(_: &Group<Self>) -> About {
        About::default()
    }
}

/// The API server as it is, and what the watch has not sent yet.
#[derive(Default)]
struct Truth {
    version: u64,
    pods: BTreeMap<String, Pod>,
    unsent: VecDeque<(bool, Pod)>,
    answers: Vec<Pod>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A pod changes its phase, or is created; the right one only if there is a left one.
    Write {
        pair: u8,
        right: bool,
        runs: bool,
    },
    Remove {
        pair: u8,
        right: bool,
    },
    /// The answer to an earlier write comes late.
    Answer(usize),
    Watch(usize),
    List,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2u8, any::<bool>(), any::<bool>())
            .prop_map(|(pair, right, runs)| Step::Write { pair, right, runs }),
        2 => (0..2u8, any::<bool>()).prop_map(|(pair, right)| Step::Remove { pair, right }),
        3 => (0..10usize).prop_map(Step::Answer),
        5 => (1..5usize).prop_map(Step::Watch),
        1 => Just(Step::List),
    ]
}

fn name(pair: u8, right: bool) -> String {
    format!("{}-{pair}", if right { "right" } else { "left" })
}

impl Truth {
    fn take(&mut self, step: &Step, index: &mut Index<Pair>) -> Vec<Arc<Toy>> {
        match *step {
            Step::Write { pair, right, runs } => {
                let left = self.pods.get(&name(pair, false));
                let left = left.map(|pod| pod.metadata.uid.clone());
                if right && left.is_none() {
                    return Vec::new();
                }
                self.version += 1;
                let name = name(pair, right);
                let known = self.pods.get(&name);
                let owners = match known {
                    Some(known) => json!(known.metadata.owner_references),
                    None if right => {
                        json!([{"kind": "Pod", "name": self::name(pair, false), "uid": left}])
                    }
                    None => json!([]),
                };
                let uid =
                    known.map_or_else(|| self.version.to_string(), |pod| pod.metadata.uid.clone());
                let pod: Pod = serde_json::from_value(json!({
                    "metadata": {
                        "name": name, "uid": uid, "resourceVersion": self.version.to_string(),
                        "labels": {"pair": pair.to_string()}, "ownerReferences": owners,
                    },
                    "status": {"phase": if runs { "Running" } else { "Pending" }},
                }))
                .unwrap();
                self.unsent.push_back((true, pod.clone()));
                self.answers.push(pod.clone());
                self.pods.insert(name, pod);
                Vec::new()
            }
            Step::Remove { pair, right } => {
                if let Some(mut pod) = self.pods.remove(&name(pair, right)) {
                    self.version += 1;
                    pod.metadata.resource_version = self.version.to_string();
                    self.unsent.push_back((false, pod));
                }
                Vec::new()
            }
            Step::Answer(back) => match self.answers.iter().rev().nth(back) {
                Some(pod) => index.see_pod(pod).updates,
                None => Vec::new(),
            },
            Step::Watch(events) => {
                let count = events.min(self.unsent.len());
                let sent = self.unsent.drain(..count);
                sent.flat_map(|(lives, pod)| match lives {
                    true => index.apply_pod(&pod).updates,
                    false => index.delete_pod(&pod).updates,
                })
                .collect()
            }
            Step::List => {
                self.unsent.clear();
                relist(index, &self.pods, self.version)
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn a_group_of_two_keeps_the_promises(steps in prop::collection::vec(step(), 1..60), offset in 0..3u64) {
        let mut index: Index<Pair> = Index::new(offset * 1000);
        let mut truth = Truth::default();
        let mut published: BTreeMap<_, Toy> = BTreeMap::new();
        let mut last = 0;
        for step in steps.iter().chain([&Step::List]) {
            for update in truth.take(step, &mut index) {
                prop_assert!(update.version >= last, "versions of all groups grow");
                last = update.version;
                if let Some(before) = published.get(&update.uid) {
                    prop_assert!(update.version > before.version, "versions of a group grow");
                    prop_assert!(!before.same(&update), "no repeats");
                    prop_assert!(!before.is_last, "nothing follows the last");
                }
                published.insert(update.uid.clone(), Toy::clone(&update));
            }
        }
        // What the index holds is what there is.
        let pods: BTreeSet<_> = index.pods.keys().map(|name| name.to_string()).collect();
        let over = |pod: &Pod| {
            let membership = Pair::membership(pod).unwrap();
            published.get(membership.anchor.uid.as_str()).is_some_and(|last| last.is_last)
        };
        for (name, pod) in &truth.pods {
            prop_assert!(pods.contains(name) || over(pod), "{name} is missing");
        }
        for name in &pods {
            prop_assert!(truth.pods.contains_key(name), "{name} is gone");
        }
        // Every group that ended was published so, and every other is as it is.
        for (uid, update) in &published {
            let group = index.group(uid);
            let lives = group.is_some_and(|group| !group.newest().gone);
            prop_assert!(lives || update.is_last, "{uid} ended silently");
            if let Some(group) = group.filter(|_| !update.is_last) {
                prop_assert!(update.same(&Pair::fold(group, index.defaults())), "{uid} is behind");
            }
        }
    }
}

/// A running pod of the pair 0; the right one with the uid of the left.
fn pod(name: &str, uid: &str, version: u64, owner: Option<&str>) -> Pod {
    let owners = owner.map(|uid| json!([{"kind": "Pod", "name": "left-0", "uid": uid}]));
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "uid": uid, "resourceVersion": version.to_string(),
            "labels": {"pair": "0"}, "ownerReferences": owners,
        },
        "status": {"phase": "Running"},
    }))
    .unwrap()
}

#[test]
fn a_member_waits_for_its_anchor() {
    let mut index: Index<Pair> = Index::default();
    let early = index.apply_pod(&pod("right-0", "r", 2, Some("l")));
    assert!(early.updates.is_empty() && !early.dirty.is_empty());
    assert!(index.by_id("0").is_none() && index.visible().next().is_none());
    let complete = index.apply_pod(&pod("left-0", "l", 3, None));
    assert_eq!(complete.updates[0].owner, "both run");
    assert!(index.by_id("0").is_some());
    // The earlier of two starts of one name ends with its anchor.
    let renewed = index.apply_pod(&pod("left-0", "l2", 9, None)).updates;
    let owners: Vec<_> = renewed
        .iter()
        .map(|update| (&*update.uid, update.owner))
        .collect();
    assert_eq!(owners, [("l", "one waits"), ("l2", "one waits")]);
    let ended = index
        .delete_pod(&pod("right-0", "r", 10, Some("l")))
        .updates;
    assert!(ended[0].is_last && *ended[0].uid == *"l");
}

#[test]
fn what_a_list_misses_of_a_group_ends_as_one() {
    let mut index: Index<Pair> = Index::default();
    index.apply_pod(&pod("left-0", "l", 2, None));
    index.apply_pod(&pod("right-0", "r", 3, Some("l")));
    let ended = relist(&mut index, &BTreeMap::new(), 6);
    let ended: Vec<_> = ended
        .iter()
        .map(|update| (update.version, update.is_last))
        .collect();
    // No version is newer than the list: the next event of the watch may have it.
    assert_eq!(ended, [(6, true)]);
}
