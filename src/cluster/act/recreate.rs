//! Writes that make a rejected pod again: the steps of `workspaces::recreate`. Each may be repeated, and may come too late.

use serde_json::{Value, json};
use tokio::time::Instant;
use tracing::info;

use super::call::{decode, is_owned};
use super::{Actor, Outcome};
use crate::action::{Mark, PodRef, RecordRef, Recreate};
use crate::cluster::request::STRATEGIC;
use crate::error::Error;
use crate::index::input::Input;
use crate::objects::{ConfigMap, Meta, Pod, Service};
use crate::workspaces::marks::{FINALIZER, RECREATE, annotation, label};
use crate::workspaces::recreate::{self, Record};

const RECORDS: &str = "configmaps";

impl Actor {
    pub(super) async fn recreate(&self, step: &Recreate, at: Instant) -> Result<Outcome, Error> {
        match step {
            Recreate::Record(pod, version) => self.record(pod, *version, at).await,
            Recreate::Commit(pod, version, record) => self.commit(pod, *version, record, at).await,
            Recreate::Inherit(record) => self.inherit(record, at).await,
            Recreate::Vacate(pod, version) => self.vacate(pod, *version, at).await,
            Recreate::Create(record) => self.create_successor(record, at).await,
            Recreate::Settle(record, pod) => self.settle(record, pod, at).await,
            Recreate::Forget(record, version) => self.forget(record, *version, at).await,
            Recreate::MarkRecord(record, mark) => self.mark_record(record, mark, at).await,
            Recreate::RemoveOrphan(pod, record) => self.remove_orphan(pod, record, at).await,
        }
    }

    /// Finds the records of an instance id that the index may not know yet, and feeds them to the hub.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn find_records(&self, id: &str, at: Instant) -> Result<Vec<RecordRef>, Error> {
        let selector = format!("{}={RECREATE},{}={id}", label::RECORD, label::WORKSPACE_ID);
        let doing = "looking for the workspace's record";
        let found: Vec<ConfigMap> = self.call(doing, at).list(RECORDS, &selector).await?;
        for map in &found {
            self.hub.take(Input::Record(map));
        }
        Ok(found
            .iter()
            .filter_map(Record::read)
            .map(|r| r.at)
            .collect())
    }

    /// Finds out what became of a workspace whose pod ended, or whose status may have changed without its pod.
    ///
    /// # Errors
    /// As [`Actor::act`].
    pub async fn look_again(&self, name: &str, at: Instant) -> Result<(), Error> {
        let lost = self.is_lost(name);
        // First the record: it outlives the creation of the new pod.
        if lost && self.read_record(name, at).await?.is_some() {
            return Ok(());
        }
        if self.read_pod(name, at).await?.is_none() && lost {
            self.hub.take(Input::Lost(name));
        }
        Ok(())
    }

    /// Whether a look is all that can tell what became of a workspace.
    pub fn is_lost(&self, name: &str) -> bool {
        self.hub.read(|index| index.is_lost(name))
    }

    /// Reads a record afresh and feeds it to the hub.
    async fn read_record(&self, name: &str, at: Instant) -> Result<Option<Value>, Error> {
        let path = self.path(RECORDS, Some(name));
        let doing = format!("reading record {name}");
        let Some(record) = self.call(&doing, at).find::<Value>(&path).await? else {
            return Ok(None);
        };
        let text = record.to_string();
        let map = self.saw_record(&text)?;
        // Somebody else's ConfigMap of that name is none.
        Ok((map.metadata.label(label::RECORD) == Some(RECREATE)).then_some(record))
    }

    async fn record(&self, pod: &PodRef, version: u64, at: Instant) -> Result<Outcome, Error> {
        let doing = format!("recording pod {}", pod.name);
        let path = self.path("pods", Some(&pod.name));
        let Some(found) = self.call(&doing, at).find::<Value>(&path).await? else {
            return Ok(Outcome::Done);
        };
        if found["metadata"]["uid"] != pod.uid.as_str() {
            return Ok(Outcome::Done);
        }
        let version = version.to_string();
        if found["metadata"]["resourceVersion"] != version.as_str() {
            self.saw(&found.to_string())?;
            return Err(changed(&doing));
        }
        info!(pod = pod.name, "was rejected by its node, making it again");
        let path = self.path(RECORDS, None);
        let record = recreate::record(&found);
        if let Some(text) = self.call(&doing, at).create(&path, &record).await? {
            return self.saw_record(&text).map(|_| Outcome::Done);
        }
        // By another replica, or by an attempt of ours whose answer was lost.
        match self.read_record(&pod.name, at).await? {
            Some(_) => Ok(Outcome::Done),
            None => Err(changed(&doing)),
        }
    }

    async fn commit(
        &self,
        pod: &PodRef,
        version: u64,
        record: &RecordRef,
        at: Instant,
    ) -> Result<Outcome, Error> {
        let patch = json!({ "metadata": {
            "uid": pod.uid,
            "resourceVersion": version.to_string(),
            "annotations": { annotation::REPLACED_BY: record.uid },
        } });
        self.patch(pod, STRATEGIC, &patch, at).await
    }

    async fn inherit(&self, record: &RecordRef, at: Instant) -> Result<Outcome, Error> {
        let Some((found, former)) = self.of_record(record, at).await? else {
            return Ok(Outcome::Done);
        };
        let heir = json!({ "apiVersion": "v1", "kind": "ConfigMap", "name": record.name, "uid": record.uid });
        self.hand_over(&found, &heir, &[&former], &[], at).await?;
        self.disown(RECORDS, &record.name, &record.uid, &former, at)
            .await
    }

    async fn vacate(&self, pod: &PodRef, version: u64, at: Instant) -> Result<Outcome, Error> {
        info!(pod = pod.name, "deleting the rejected pod");
        let path = self.path("pods", Some(&pod.name));
        let doing = format!("deleting pod {}", pod.name);
        let call = self.call(&doing, at);
        let version = version.to_string();
        let answer = call.delete(&path, &pod.uid, Some(&version), Some(0));
        let Some(text) = answer.await? else {
            // Marked or gone since: the watch tells which.
            return Ok(Outcome::Gone);
        };
        let left: Pod = decode(&text)?;
        let patch = json!({ "metadata": {
            "uid": pod.uid,
            "resourceVersion": left.metadata.resource_version,
            "$deleteFromPrimitiveList/finalizers": [FINALIZER],
        } });
        self.patch(pod, STRATEGIC, &patch, at).await
    }

    async fn create_successor(&self, record: &RecordRef, at: Instant) -> Result<Outcome, Error> {
        let Some(found) = self.read_record(&record.name, at).await? else {
            return Ok(Outcome::Done);
        };
        let map: ConfigMap = decode(&found.to_string())?;
        let stands = Record::read(&map)
            .is_some_and(|known| known.at == *record && !known.owned && known.ends.is_empty());
        let Some(pod) = recreate::successor(&found).filter(|_| stands) else {
            return Ok(Outcome::Done);
        };
        let path = self.path("pods", None);
        let doing = format!("making pod {} again", record.name);
        match self.call(&doing, at).create(&path, &pod).await? {
            Some(text) => {
                info!(pod = record.name, "made again");
                self.saw(&text).map(|_| Outcome::Done)
            }
            None => self.read_pod(&record.name, at).await.map(|_| Outcome::Done),
        }
    }

    async fn settle(
        &self,
        record: &RecordRef,
        pod: &PodRef,
        at: Instant,
    ) -> Result<Outcome, Error> {
        // Whoever has not seen the new pod cannot delete the record from here on; if it is gone, the pod came too late.
        let successor = json!({ annotation::SUCCESSOR: pod.uid });
        let patch = json!({ "metadata": { "uid": record.uid, "annotations": successor } });
        if let Outcome::Gone = self.change(RECORDS, &record.name, &patch, at).await? {
            return Ok(Outcome::Done);
        }
        if let Some((found, former)) = self.of_record(record, at).await? {
            let heir =
                json!({ "apiVersion": "v1", "kind": "Pod", "name": pod.name, "uid": pod.uid });
            let former = [former.as_str(), record.uid.as_str()];
            self.hand_over(&found, &heir, &former, &former, at).await?;
        }
        self.disown("pods", &pod.name, &pod.uid, &record.uid, at)
            .await
    }

    async fn forget(
        &self,
        record: &RecordRef,
        version: Option<u64>,
        at: Instant,
    ) -> Result<Outcome, Error> {
        let pod = self.hub.read(|index| index.pod(&record.name).is_some());
        if version.is_some() && !pod && self.read_pod(&record.name, at).await?.is_some() {
            // Now it is known, and decided on together with the record.
            return Ok(Outcome::Done);
        }
        let version = version.map(|version| version.to_string());
        let path = self.path(RECORDS, Some(&record.name));
        let doing = format!("deleting record {}", record.name);
        let call = self.call(&doing, at);
        call.delete(&path, &record.uid, version.as_deref(), None)
            .await?;
        Ok(Outcome::Done)
    }

    async fn mark_record(
        &self,
        record: &RecordRef,
        mark: &Mark,
        at: Instant,
    ) -> Result<Outcome, Error> {
        let patch = json!({ "metadata": { "uid": record.uid, "annotations": mark.set } });
        self.change(RECORDS, &record.name, &patch, at).await
    }

    async fn remove_orphan(
        &self,
        pod: &PodRef,
        record: &RecordRef,
        at: Instant,
    ) -> Result<Outcome, Error> {
        if self.has_record(&record.name, &record.uid, at).await? {
            return Ok(Outcome::Done);
        }
        info!(pod = pod.name, "was made too late, deleting it");
        self.delete(pod, 0, at).await?;
        self.remove_finalizer(pod, FINALIZER, at).await
    }

    /// Whether a record is there.
    pub(super) async fn has_record(
        &self,
        name: &str,
        uid: &str,
        at: Instant,
    ) -> Result<bool, Error> {
        let found = self.read_record(name, at).await?;
        Ok(found.is_some_and(|found| found["metadata"]["uid"] == uid))
    }

    /// Returns what belongs to the recorded pod, and that pod's uid; nothing if the record is gone.
    async fn of_record(
        &self,
        record: &RecordRef,
        at: Instant,
    ) -> Result<Option<(Vec<(&'static str, String)>, String)>, Error> {
        let found = self.read_record(&record.name, at).await?;
        let found = found.filter(|found| found["metadata"]["uid"] == record.uid.as_str());
        Ok(found.as_ref().and_then(recreate::dependants))
    }

    /// Makes `heir` an owner of those objects that one of `former` owns, and takes `gone` off them.
    async fn hand_over(
        &self,
        objects: &[(&'static str, String)],
        heir: &Value,
        former: &[&str],
        gone: &[&str],
        at: Instant,
    ) -> Result<(), Error> {
        for (plural, name) in objects {
            let path = self.path(plural, Some(name));
            let doing = format!("reading {plural} {name}");
            // Any kind will do: only the metadata is looked at.
            let found = self.call(&doing, at).find(&path).await?;
            let Some(Service { metadata, .. }) = found else {
                continue;
            };
            let owned = |uid: &str| is_owned(&metadata, uid);
            let has = owned(heir["uid"].as_str().unwrap_or_default());
            let leaves = gone.iter().filter(|uid| owned(uid));
            let mut owners: Vec<Value> = leaves.map(|uid| struck(uid)).collect();
            if !former.iter().any(|uid| owned(uid)) || (has && owners.is_empty()) {
                continue;
            }
            owners.push(heir.clone());
            let Meta { uid, .. } = &metadata;
            let patch = json!({ "metadata": { "uid": uid, "ownerReferences": owners } });
            self.change(plural, name, &patch, at).await?;
        }
        Ok(())
    }

    /// Takes an owner off an object. It is read first: servers differ in what they make of striking what is not there.
    async fn disown(
        &self,
        plural: &str,
        name: &str,
        uid: &str,
        owner: &str,
        at: Instant,
    ) -> Result<Outcome, Error> {
        let path = self.path(plural, Some(name));
        let doing = format!("reading {plural} {name}");
        let found: Option<Value> = self.call(&doing, at).find(&path).await?;
        let owners = found
            .as_ref()
            .and_then(|found| found["metadata"]["ownerReferences"].as_array());
        if !owners
            .into_iter()
            .flatten()
            .any(|known| known["uid"] == owner)
        {
            return Ok(Outcome::Done);
        }
        let patch = json!({ "metadata": { "uid": uid, "ownerReferences": [struck(owner)] } });
        self.change(plural, name, &patch, at).await
    }

    /// Patches an object; that it is gone, or another of that name, is no error.
    async fn change(
        &self,
        plural: &str,
        name: &str,
        patch: &Value,
        at: Instant,
    ) -> Result<Outcome, Error> {
        let path = self.path(plural, Some(name));
        let doing = format!("patching {plural} {name}");
        let call = self.call(&doing, at);
        let Some(text) = call.patch(&path, STRATEGIC, patch).await? else {
            return Ok(Outcome::Gone);
        };
        match plural {
            "pods" => self.saw(&text).map(|_| Outcome::Done),
            RECORDS => self.saw_record(&text).map(|_| Outcome::Done),
            _ => Ok(Outcome::Done),
        }
    }

    fn saw_record(&self, text: &str) -> Result<ConfigMap, Error> {
        let map: ConfigMap = decode(text)?;
        self.hub.take(Input::Record(&map));
        Ok(map)
    }
}

/// The entry of a patch that takes an owner off.
fn struck(uid: &str) -> Value {
    json!({ "$patch": "delete", "uid": uid })
}

/// The object is not as it was decided on; it will be decided on again.
fn changed(doing: &str) -> Error {
    Error::Aborted {
        why: format!("{doing}: it has changed"),
    }
}
