//! A noun of this test on the core as it is: pairs of pods, watched, decided on and published without a line in it that
//! knows them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;
use tokio::sync::watch;
use wsman::action::{Action, Discard, PodRef};
use wsman::clock::Clock;
use wsman::cluster::act::Actor;
use wsman::cluster::reconcile;
use wsman::cluster::reconcile::NoSteps;
use wsman::cluster::watch::{self as cluster_watch, Selectors};
use wsman::decision::{Decision, Wake};
use wsman::hub::Hub;
use wsman::index::input::Input;
use wsman::index::noun::Group;
use wsman::index::noun::{About, Membership, Noun};
use wsman::index::observed::Observed;
use wsman::index::{Index, reference};
use wsman::leadership::Leadership;
use wsman::lease::LeaseState;
use wsman::objects::Pod;
use wsman::readiness::Readiness;
use wsman::tasks::Tasks;
use wsman::updates::{Filter, SubscribeFrom, Subscription, Update, UpdateEvent};

use super::support::cluster::Cluster;
use super::support::world::TIMEOUT;

on_both_clusters! {
    a_pair_is_completed_runs_and_ends_together
}

const FINALIZER: &str = "test.wsman.dev/pair";
/// How long a pair lives.
const LIFE: Duration = Duration::from_secs(3600);

/// The left pod is the anchor. The right one is created for it, and goes before it.
#[derive(Debug, Clone, Default, PartialEq)]
struct Pair;

#[derive(Debug, Clone, PartialEq)]
struct Half {
    name: String,
    runs: bool,
    created: Option<Timestamp>,
    is_deleting: bool,
}

/// How many of a pair run.
#[derive(Debug, Clone, PartialEq)]
struct Running {
    key: Arc<str>,
    name: Arc<str>,
    version: u64,
    count: usize,
    is_last: bool,
}

#[derive(Debug, Default)]
struct All;

impl Update for Running {
    type Topic = ();
    type Filter = All;

    fn group_id(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    fn start_uid(&self) -> &Arc<str> {
        &self.key
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn is_last(&self) -> bool {
        self.is_last
    }

    fn topics(&self) -> Vec<()> {
        Vec::new()
    }

    fn same(&self, other: &Self) -> bool {
        (self.count, self.is_last) == (other.count, other.is_last)
    }

    fn at(&self, version: u64) -> Self {
        Self {
            version,
            ..self.clone()
        }
    }

    fn size(&self) -> usize {
        self.name.len()
    }
}

impl Filter<Running> for All {
    fn matches(&self, _: &Running) -> bool {
        true
    }

    fn topic(&self) -> Option<()> {
        None
    }
}

impl Noun for Pair {
    const KIND: &'static str = "pair";

    type Defaults = ();
    type Entry = Half;
    type Update = Running;
    type Policy = Duration;
    type Step = Infallible;
    type Case = ();

    fn membership(pod: &Pod) -> Option<Membership> {
        let meta = &pod.metadata;
        meta.label("pair")?;
        let owner = meta.owner_references.first();
        Some(Membership {
            anchor: owner.map_or_else(
                || reference(pod),
                |owner| PodRef {
                    name: owner.name.clone(),
                    uid: owner.uid.clone(),
                },
            ),
            rank: u32::from(owner.is_some()),
        })
    }

    fn read(observed: &Observed<'_>, (): &()) -> Half {
        let pod = observed.pod;
        Half {
            name: pod.metadata.label("pair").unwrap_or_default().to_owned(),
            runs: pod.status.phase == "Running",
            created: pod.metadata.creation_timestamp,
            is_deleting: pod.metadata.deletion_timestamp.is_some(),
        }
    }

    fn id(group: &Group<Self>) -> &str {
        &group.newest().entry.name
    }

    fn fold(group: &Group<Self>, (): &()) -> Running {
        Running {
            key: Arc::clone(&group.key),
            name: group.newest().entry.name.as_str().into(),
            version: group.version(),
            count: group.living().filter(|half| half.entry.runs).count(),
            is_last: group.living().next().is_none(),
        }
    }

    fn decide(
        &self,
        index: &Index<Self>,
        key: &str,
        life: &Duration,
        now: Timestamp,
    ) -> Option<Decision<Infallible>> {
        let group = index.group(key)?;
        let newest = group.newest();
        let ends_at = newest.entry.created?.checked_add(*life).ok()?;
        let is_over = ends_at <= now || newest.gone || group.living().any(|h| h.entry.is_deleting);
        let actions = if is_over {
            let mut halves: Vec<_> = group.living().collect();
            halves.reverse();
            let discard = halves.into_iter().map(|half| {
                Action::Discard(Discard {
                    pod: half.pod.clone(),
                    finalizer: FINALIZER,
                    version: None,
                    unless: None,
                })
            });
            discard.collect()
        } else if newest.rank == 0 {
            let right = half("right", &newest.entry.name, Some(&group.anchor()));
            vec![Action::CreatePod(Box::new(right))]
        } else {
            Vec::new()
        };
        let wake = Wake {
            at: ends_at,
            reason: "life is over",
            source: "",
        };
        Some(Decision {
            rule: "pairs",
            actions,
            wake_at: (ends_at > now).then_some(wake),
            ..Decision::default()
        })
    }

    fn case(&self, _: &Index<Self>, _: &str, _: &Duration, _: Timestamp) {}

    fn about(group: &Group<Self>) -> About {
        About {
            id: group.newest().entry.name.clone(),
            ..About::default()
        }
    }
}

fn half(side: &str, name: &str, owner: Option<&PodRef>) -> core::Pod {
    let owners = owner.map(
        |owner| json!([{"apiVersion": "v1", "kind": "Pod", "name": owner.name, "uid": owner.uid}]),
    );
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("{side}-{name}"), "labels": {"pair": name}, "finalizers": [FINALIZER],
            "ownerReferences": owners,
        },
        "spec": {"containers": [{"name": "main", "image": "example.com/main:1"}]},
    }))
    .unwrap()
}

/// Returns the next update.
async fn next(updates: &mut Subscription<Running>) -> Vec<Running> {
    let batch = tokio::time::timeout(TIMEOUT, updates.next()).await;
    let batch = batch.expect("an update in time").unwrap();
    let updates = batch.iter().filter_map(|event| match event {
        UpdateEvent::Status(update) => Some(Running::clone(update)),
        UpdateEvent::SnapshotComplete(_) => None,
    });
    updates.collect()
}

async fn a_pair_is_completed_runs_and_ends_together(cluster: &Cluster) {
    let client = cluster.client().await;
    let clock = Clock::manual();
    let hub: Hub<Pair> = Hub::with_clock(Index::default(), clock.clone());
    let answers = hub.clone();
    let sink = Arc::new(move |input: Input<'_>| drop(answers.take(input)));
    let actor = Actor::new(client.clone(), &cluster.namespace, sink);
    let (_open, gate) = watch::channel(true);
    let (_policy, policy) = watch::channel(Arc::new(LIFE));
    let leads = LeaseState::Leader {
        until: Duration::from_secs(1 << 30),
    };
    let (_leads, lease) = watch::channel(leads);
    let mut tasks = Tasks::default();
    cluster_watch::spawn(
        &mut tasks,
        &client,
        &cluster.namespace,
        &hub,
        &actor,
        &Readiness::default(),
        Selectors {
            pods: "pair".to_owned(),
            strays: "pair=stray".to_owned(),
            services: "pair".to_owned(),
            optional_services: true,
            nodes: wsman::readiness::Component::optional("nodes"),
            gate,
        },
    );
    let leadership = Leadership::new(lease, clock.clone());
    let driven = reconcile::run(
        hub.clone(),
        actor,
        policy,
        clock.clone(),
        leadership,
        Arc::new(NoSteps),
        async || {},
    );
    tasks.spawn("lifecycle", driven);
    let mut updates = hub.updates().subscribe(All, SubscribeFrom::Now);

    let pods = cluster.api::<core::Pod>().await;
    for name in ["a", "b"] {
        let left = half("left", name, None);
        pods.create(&PostParams::default(), &left).await.unwrap();
    }
    let mut seen: Vec<Running> = Vec::new();
    let last = |seen: &[Running], name: &str| {
        let of_name = seen.iter().rev().find(|update| &*update.name == name);
        of_name.map(|update| (update.count, update.is_last))
    };
    while last(&seen, "a") != Some((2, false)) || last(&seen, "b") != Some((2, false)) {
        seen.extend(next(&mut updates).await);
    }
    // Somebody deletes one half of one; the other goes with it.
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete("right-a", &at_once).await.unwrap();
    while last(&seen, "a") != Some((0, true)) {
        seen.extend(next(&mut updates).await);
    }
    assert_eq!(last(&seen, "b"), Some((2, false)));
    // The time of the other comes.
    clock.advance(LIFE * 2);
    while last(&seen, "b") != Some((0, true)) {
        seen.extend(next(&mut updates).await);
    }
    for name in ["left-a", "right-a", "left-b", "right-b"] {
        cluster.gone::<core::Pod>(name).await;
    }
    for pair in ["a", "b"] {
        let of_pair: Vec<_> = seen.iter().filter(|update| &*update.name == pair).collect();
        assert!(
            of_pair
                .windows(2)
                .all(|two| two[0].version < two[1].version)
        );
        assert!(of_pair.windows(2).all(|two| !two[0].same(two[1])));
        assert_eq!(of_pair.iter().filter(|update| update.is_last).count(), 1);
    }
    tasks.abort().await;
}
