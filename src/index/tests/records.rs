//! Pods that are made again, seen through two streams that lag behind each other and skip: one workspace, one STOPPED.

use std::collections::VecDeque;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::objects::ConfigMap;

const NAME: &str = "ws-a";

/// A pod as far as it matters here.
#[derive(Debug, Clone)]
struct AnyPod {
    uid: u64,
    run: u64,
    made_from: Option<u64>,
    provisional: bool,
    rejected: bool,
    committed: Option<u64>,
    stop: bool,
}

#[derive(Debug, Clone)]
struct AnyRecord {
    uid: u64,
    pod: AnyPod,
    owned: bool,
    stop: bool,
}

impl AnyPod {
    fn value(&self, version: u64) -> Value {
        let mut marks = json!({
            "gitpod/id": "a", "gitpod/url": "https://x", "gitpod/never-ready": "true",
            "gitpod.io/alreadyInitializing": "true",
        });
        let mut mark = |key: &str, value: Option<String>| {
            if let Some(value) = value {
                marks[key] = value.into();
            }
        };
        mark(
            "wsman.dev/made-from",
            self.made_from.map(|uid| uid.to_string()),
        );
        mark(
            "wsman.dev/first-uid",
            self.made_from.map(|_| self.run.to_string()),
        );
        mark(
            "wsman.dev/replaced-by",
            self.committed.map(|uid| uid.to_string()),
        );
        mark(
            "gitpod.io/stoppedByRequest",
            self.stop.then(|| "1s".to_owned()),
        );
        let owners = self
            .made_from
            .filter(|_| self.provisional)
            .map(|uid| json!([{"kind": "ConfigMap", "name": NAME, "uid": uid.to_string()}]));
        let status = match self.rejected {
            true => {
                json!({"phase": "Failed", "reason": "OutOfcpu", "message": "Pod was rejected: x"})
            }
            false => json!({"phase": "Pending"}),
        };
        json!({
            "metadata": {
                "name": NAME, "uid": self.uid.to_string(), "resourceVersion": version.to_string(),
                "creationTimestamp": "2026-01-01T00:00:00Z", "labels": {"gpwsman": "true"}, "annotations": marks,
                "finalizers": ["gitpod.io/finalizer"], "ownerReferences": owners,
            },
            "spec": {"nodeName": "n", "containers": [{"name": "workspace", "image": "x"}]},
            "status": status,
        })
    }
}

impl AnyRecord {
    fn map(&self, version: u64) -> ConfigMap {
        let marks = self
            .stop
            .then(|| json!({"gitpod.io/stoppedByRequest": "1s"}));
        let owners = self
            .owned
            .then(|| json!([{"kind": "Pod", "name": NAME, "uid": self.pod.uid.to_string()}]));
        serde_json::from_value(json!({
            "metadata": {
                "name": NAME, "uid": self.uid.to_string(), "resourceVersion": version.to_string(),
                "labels": {"wsman.dev/record": "recreate"}, "annotations": marks, "ownerReferences": owners,
            },
            "data": {"pod.json": self.pod.value(version).to_string()},
        }))
        .unwrap()
    }
}

type Told<T> = (bool, T);

/// The API server as it is, and what each stream has not told yet.
#[derive(Default)]
struct Truth {
    version: u64,
    pod: Option<(u64, AnyPod)>,
    record: Option<(u64, AnyRecord)>,
    pods: VecDeque<Told<Pod>>,
    records: VecDeque<Told<ConfigMap>>,
    past_pods: Vec<AnyPod>,
    past_records: Vec<AnyRecord>,
    answers: Vec<Pod>,
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Start,
    Reject,
    /// The lifecycle goes one step on.
    Step,
    Stop,
    /// A daemon that slept creates a record, or a pod, long after its time.
    LateRecord(usize),
    LatePod(usize),
    TellPod,
    TellRecord,
    /// The answer to a write comes late.
    Answer(usize),
    ListPods,
    ListRecords,
    /// The index looks for what it has lost.
    Look,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => Just(Act::Start),
        4 => Just(Act::Reject),
        10 => Just(Act::Step),
        1 => Just(Act::Stop),
        1 => (0..8usize).prop_map(Act::LateRecord),
        1 => (0..8usize).prop_map(Act::LatePod),
        8 => Just(Act::TellPod),
        8 => Just(Act::TellRecord),
        2 => (0..8usize).prop_map(Act::Answer),
        1 => Just(Act::ListPods),
        1 => Just(Act::ListRecords),
        2 => Just(Act::Look),
    ]
}

impl Truth {
    fn next(&mut self) -> u64 {
        self.version += 1;
        self.version
    }

    fn put_pod(&mut self, pod: Option<AnyPod>) {
        let version = self.next();
        let (there, told) = match &pod {
            Some(pod) => (true, pod.clone()),
            None => (false, self.pod.take().unwrap().1),
        };
        let object: Pod = serde_json::from_value(told.value(version)).unwrap();
        if there {
            self.past_pods.push(told);
            self.answers.push(object.clone());
        }
        self.pods.push_back((there, object));
        self.pod = pod.map(|pod| (version, pod));
    }

    fn put_record(&mut self, record: Option<AnyRecord>) {
        let version = self.next();
        let (there, told) = match &record {
            Some(record) => (true, record.clone()),
            None => (false, self.record.take().unwrap().1),
        };
        if there {
            self.past_records.push(told.clone());
        }
        self.records.push_back((there, told.map(version)));
        self.record = record.map(|record| (version, record));
    }

    /// What `workspaces::recreate` and the rest of the lifecycle do, seen from the API server.
    fn step(&mut self) {
        let pod = self.pod.as_ref().map(|(_, pod)| pod.clone());
        let record = self.record.as_ref().map(|(_, record)| record.clone());
        match (pod, record) {
            (None, None) => {}
            (Some(pod), record)
                if pod.provisional && record.as_ref().map(|r| r.uid) != pod.made_from =>
            {
                self.put_pod(None);
            }
            (Some(pod), None) if pod.stop => self.put_pod(None),
            (Some(pod), None) => {
                if pod.rejected {
                    let uid = self.next();
                    let (owned, stop) = (true, false);
                    self.put_record(Some(AnyRecord {
                        uid,
                        pod,
                        owned,
                        stop,
                    }));
                }
            }
            (Some(pod), Some(record)) if record.pod.uid == pod.uid => {
                if record.stop && !pod.stop {
                    self.put_pod(Some(AnyPod { stop: true, ..pod }));
                } else if pod.stop || !pod.rejected {
                    self.put_record(None);
                } else if pod.committed != Some(record.uid) {
                    let committed = Some(record.uid);
                    self.put_pod(Some(AnyPod { committed, ..pod }));
                } else if record.owned {
                    let owned = false;
                    self.put_record(Some(AnyRecord { owned, ..record }));
                } else {
                    self.put_pod(None);
                }
            }
            (Some(pod), Some(record)) if pod.made_from == Some(record.uid) => {
                if record.stop && !pod.stop {
                    self.put_pod(Some(AnyPod { stop: true, ..pod }));
                } else if pod.provisional {
                    let provisional = false;
                    self.put_pod(Some(AnyPod { provisional, ..pod }));
                } else {
                    self.put_record(None);
                }
            }
            (Some(_), Some(_)) => self.put_record(None),
            (None, Some(record)) if record.owned || record.stop => self.put_record(None),
            (None, Some(record)) => self.create(&record),
        }
    }

    fn create(&mut self, record: &AnyRecord) {
        let uid = self.next();
        self.put_pod(Some(AnyPod {
            uid,
            run: record.pod.run,
            made_from: Some(record.uid),
            provisional: true,
            rejected: false,
            committed: None,
            stop: false,
        }));
    }

    fn take(&mut self, act: Act, index: &mut Index) -> Vec<StatusUpdate> {
        match act {
            // The records lag behind the pods, but not by a whole life.
            Act::Start
                if self.pod.is_none() && self.record.is_none() && self.records.is_empty() =>
            {
                let uid = self.next();
                self.put_pod(Some(AnyPod {
                    uid,
                    run: uid,
                    made_from: None,
                    provisional: false,
                    rejected: false,
                    committed: None,
                    stop: false,
                }));
            }
            Act::Reject => {
                if let Some((_, pod)) = self
                    .pod
                    .clone()
                    .filter(|(_, p)| !p.provisional && !p.rejected)
                {
                    self.put_pod(Some(AnyPod {
                        rejected: true,
                        ..pod
                    }));
                }
            }
            Act::Step => self.step(),
            Act::Stop => match (self.pod.clone(), self.record.clone()) {
                (Some((_, pod)), _) if !pod.stop => {
                    self.put_pod(Some(AnyPod { stop: true, ..pod }))
                }
                (None, Some((_, record))) if !record.stop => {
                    self.put_record(Some(AnyRecord {
                        stop: true,
                        ..record
                    }));
                }
                _ => {}
            },
            Act::LateRecord(back) if self.record.is_none() => {
                let pod = self
                    .past_pods
                    .iter()
                    .rev()
                    .nth(back)
                    .filter(|pod| pod.rejected);
                if let Some(pod) = pod.cloned() {
                    let uid = self.next();
                    let (owned, stop) = (true, false);
                    self.put_record(Some(AnyRecord {
                        uid,
                        pod,
                        owned,
                        stop,
                    }));
                }
            }
            Act::LatePod(back) if self.pod.is_none() => {
                let record = self.past_records.iter().rev().nth(back).cloned();
                if let Some(record) = record.filter(|record| !record.owned && !record.stop) {
                    self.create(&record);
                }
            }
            Act::TellPod => {
                return match self.pods.pop_front() {
                    Some((true, pod)) => index.apply_pod(&pod).updates,
                    Some((false, pod)) => index.delete_pod(&pod).updates,
                    None => Vec::new(),
                };
            }
            Act::TellRecord => {
                return match self.records.pop_front() {
                    Some((true, map)) => index.apply_record(&map).updates,
                    Some((false, map)) => index.delete_record(&map).updates,
                    None => Vec::new(),
                };
            }
            Act::Answer(back) => {
                let answer = self.answers.iter().rev().nth(back);
                return answer
                    .map(|pod| index.see_pod(pod).updates)
                    .unwrap_or_default();
            }
            Act::ListPods => {
                self.pods.clear();
                let mut updates = Vec::new();
                let mut names = HashSet::new();
                if let Some((version, pod)) = &self.pod {
                    let pod: Pod = serde_json::from_value(pod.value(*version)).unwrap();
                    updates = index.list_pod(&pod).updates;
                    names.insert(NAME.to_owned());
                }
                updates.extend(index.retain_pods(&names, self.version).updates);
                return updates;
            }
            Act::ListRecords => {
                self.records.clear();
                let mut updates = Vec::new();
                let mut names = HashSet::new();
                if let Some((version, record)) = &self.record {
                    updates = index.apply_record(&record.map(*version)).updates;
                    names.insert(NAME.to_owned());
                }
                updates.extend(index.retain_records(&names, self.version).updates);
                return updates;
            }
            Act::Look if index.is_lost(NAME) => {
                return match (&self.record, &self.pod) {
                    (Some((version, record)), _) => {
                        index.apply_record(&record.map(*version)).updates
                    }
                    (None, Some((version, pod))) => {
                        let pod: Pod = serde_json::from_value(pod.value(*version)).unwrap();
                        index.see_pod(&pod).updates
                    }
                    (None, None) => index.lose(NAME).updates,
                };
            }
            _ => {}
        }
        Vec::new()
    }

    /// The run that lives, if one does: a pod that stands for itself or has its record, or a record that stands alone.
    fn lives(&self) -> Option<u64> {
        let record = self.record.as_ref().map(|(_, record)| record);
        match (&self.pod, record) {
            (Some((_, pod)), record) => {
                let orphan = pod.provisional && record.map(|r| r.uid) != pod.made_from;
                match record {
                    Some(record) if orphan && !record.owned => Some(record.pod.run),
                    _ => (!orphan).then_some(pod.run),
                }
            }
            (None, Some(record)) => (!record.owned).then_some(record.pod.run),
            (None, None) => None,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn a_workspace_stays_one_however_often_its_pod_is_made_again(acts in prop::collection::vec(act(), 1..120)) {
        let defaults = Defaults { max_recreations: 3, ..Defaults::default() };
        let (mut truth, mut index) = (Truth::default(), Index::new(defaults));
        let mut told: HashMap<Arc<str>, EncodedStatus> = HashMap::new();
        let settle = [Act::ListPods, Act::ListRecords, Act::Look, Act::ListPods, Act::Look];
        for act in acts.iter().chain(&settle) {
            for update in truth.take(*act, &mut index) {
                if let Some(before) = told.get(&update.start_uid) {
                    prop_assert!(update.status.version() > before.version(), "versions grow");
                    prop_assert!(!before.same(&update.status), "no repeats");
                    prop_assert_ne!(before.phase(), WorkspacePhase::Stopped, "nothing after STOPPED");
                }
                told.insert(update.start_uid.clone(), update.status);
            }
        }
        let listed = index.list(&Default::default()).count();
        let lives = truth.lives();
        if let Some(run) = lives {
            prop_assert_eq!(listed, 1, "what lives is listed");
            let last = told.get(run.to_string().as_str()).map(EncodedStatus::phase);
            // One that was known from answers only is told with its new pod.
            let lives = last.is_none_or(|phase| phase == WorkspacePhase::Pending);
            prop_assert!(lives, "what lives has not ended");
        }
        if truth.pod.is_none() && truth.record.is_none() {
            prop_assert_eq!(listed, 0, "nothing is left over");
        }
        for (run, status) in &told {
            let goes_on = index.workspaces.values().any(|known| known.run() == &**run);
            prop_assert!(goes_on || status.phase() == WorkspacePhase::Stopped, "{} ended untold", run);
        }
    }
}

#[test]
fn a_record_whose_workspace_has_ended_makes_no_pod_that_is_told_of() {
    let defaults = Defaults {
        max_recreations: 3,
        ..Defaults::default()
    };
    let mut index = Index::new(defaults);
    let first = AnyPod {
        uid: 1,
        run: 1,
        made_from: None,
        provisional: false,
        rejected: true,
        committed: Some(2),
        stop: true,
    };
    let record = AnyRecord {
        uid: 2,
        pod: first.clone(),
        owned: false,
        stop: false,
    };
    let second = AnyPod {
        uid: 3,
        made_from: Some(2),
        provisional: true,
        rejected: false,
        committed: None,
        stop: false,
        ..first.clone()
    };
    let read = |pod: &AnyPod, version| serde_json::from_value(pod.value(version)).unwrap();
    index.apply_pod(&read(&first, 5));
    index.apply_record(&record.map(6));
    // Somebody takes the finalizer off and deletes the pod by force, although a stop was asked for.
    let told = index.delete_pod(&read(&first, 7)).updates;
    assert!(told.last().unwrap().is_last());
    assert!(index.record(NAME).unwrap().over);
    assert_eq!(index.apply_pod(&read(&second, 8)).updates, []);
    assert_eq!(index.pod(NAME).unwrap().pod.uid, "3", "it is decided on");
    assert_eq!(
        index.list(&Default::default()).count(),
        0,
        "but not told of"
    );
}
