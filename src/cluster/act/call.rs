//! Puts requests together, sends them, and separates expected failures from errors.

use std::collections::BTreeMap;

use http::Method;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{DeleteOptions, Preconditions};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::Instant;
use url::form_urlencoded;

use super::Actor;
use crate::action::SNAPSHOTS;
use crate::cluster::request::{self, Failure, JSON, Request};
use crate::error::Error;
use crate::objects::{List, Meta, Object};

/// What one or more requests are for; errors begin with it.
pub(super) struct Call<'a> {
    actor: &'a Actor,
    doing: &'a str,
    deadline: Instant,
}

impl Actor {
    pub(super) fn call<'a>(&'a self, doing: &'a str, deadline: Instant) -> Call<'a> {
        Call {
            actor: self,
            doing,
            deadline,
        }
    }

    /// The path of a kind in the core group, or of one object.
    pub(super) fn path(&self, plural: &str, name: Option<&str>) -> String {
        self.path_in("/api/v1", plural, name)
    }

    /// The path of a kind, or of one object, in the namespace.
    pub(super) fn path_in(&self, group: &str, plural: &str, name: Option<&str>) -> String {
        let collection = format!("{group}/namespaces/{}/{plural}", self.namespace);
        match name {
            None => collection,
            Some(name) => format!("{collection}/{name}"),
        }
    }
}

impl Call<'_> {
    /// Reads an object; nothing if it is not there.
    pub(super) async fn find<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, Error> {
        let found = self.send(Method::GET, path, JSON, Vec::new(), Failure::is_gone);
        found.await?.map(|text| decode(&text)).transpose()
    }

    /// Reads the objects of a kind that a label selector selects.
    pub(super) async fn list<T: Object + DeserializeOwned>(
        &self,
        plural: &str,
        selector: &str,
    ) -> Result<Vec<T>, Error> {
        let selector: String = form_urlencoded::byte_serialize(selector.as_bytes()).collect();
        let path = self.actor.path(plural, None);
        let path = format!("{path}?labelSelector={selector}");
        let found = self.send(Method::GET, &path, JSON, Vec::new(), |_| false);
        let list: List<T> = decode(&found.await?.unwrap_or_default())?;
        Ok(list.items)
    }

    /// Creates an object and returns the answer; nothing if one of that name exists.
    pub(super) async fn create(
        &self,
        path: &str,
        object: &impl Serialize,
    ) -> Result<Option<String>, Error> {
        self.create_unless(path, object, Failure::is_exists).await
    }

    /// Creates an object and returns the answer; nothing after a failure that is expected.
    pub(super) async fn create_unless(
        &self,
        path: &str,
        object: &impl Serialize,
        expected: fn(&Failure) -> bool,
    ) -> Result<Option<String>, Error> {
        let body = encode(object)?;
        self.send(Method::POST, path, JSON, body, expected).await
    }

    /// Patches an object and returns the answer; nothing if it is gone, is another by now, or is not in the version that
    /// the patch names.
    pub(super) async fn patch(
        &self,
        path: &str,
        kind: &'static str,
        patch: &Value,
    ) -> Result<Option<String>, Error> {
        self.patch_unless(path, kind, patch, Failure::is_outdated)
            .await
    }

    /// Patches an object and returns the answer; nothing after a failure that is expected.
    pub(super) async fn patch_unless(
        &self,
        path: &str,
        kind: &'static str,
        patch: &Value,
        expected: fn(&Failure) -> bool,
    ) -> Result<Option<String>, Error> {
        self.send(Method::PATCH, path, kind, encode(patch)?, expected)
            .await
    }

    /// Deletes an object by its uid, and by its version where there is one, and returns the answer; nothing if it is gone,
    /// or another or changed by now. Without `grace` that of the object counts.
    pub(super) async fn delete(
        &self,
        path: &str,
        uid: &str,
        version: Option<&str>,
        grace: Option<u64>,
    ) -> Result<Option<String>, Error> {
        let body = encode(&DeleteOptions {
            api_version: Some("v1".to_owned()),
            kind: Some("DeleteOptions".to_owned()),
            grace_period_seconds: grace.map(|grace| i64::try_from(grace).unwrap_or(i64::MAX)),
            preconditions: Some(Preconditions {
                uid: Some(uid.to_owned()),
                resource_version: version.map(str::to_owned),
            }),
            propagation_policy: Some("Background".to_owned()),
            ..DeleteOptions::default()
        })?;
        self.send(Method::DELETE, path, JSON, body, Failure::is_outdated)
            .await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        content_type: &'static str,
        body: Vec<u8>,
        expected: fn(&Failure) -> bool,
    ) -> Result<Option<String>, Error> {
        let request = Request {
            method,
            path,
            content_type,
            body,
        };
        match request::send(&self.actor.client, &request, self.deadline).await {
            Ok(text) => Ok(Some(text)),
            Err(failure) if expected(&failure) => Ok(None),
            // Built-in kinds are always served: what does not serve them is no API server.
            Err(failure) if failure.is_not_served() && path.contains(SNAPSHOTS) => {
                Err(Error::Precondition {
                    state: "NOT_SERVED",
                    why: format!("{}: this cluster serves no {SNAPSHOTS}", self.doing),
                })
            }
            Err(failure) => Err(failure.into_error(self.doing)),
        }
    }
}

fn encode(body: &impl Serialize) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(body).map_err(|error| Error::Internal {
        why: format!("cannot encode: {error}"),
    })
}

/// Reads an answer. serde_json names what it expected and where, not the content.
pub(super) fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|error| Error::Unavailable {
        why: format!("the API server's answer is unreadable: {error}"),
        retry_after: None,
    })
}

/// The entries of a merge patch: null removes.
pub(super) fn merge(set: &BTreeMap<String, String>, remove: &[String]) -> Map<String, Value> {
    let set = set
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())));
    let remove = remove.iter().map(|key| (key.clone(), Value::Null));
    set.chain(remove).collect()
}

/// Whether an object goes with the object of this uid.
pub(super) fn is_owned(meta: &Meta, uid: &str) -> bool {
    meta.owner_references.iter().any(|owner| owner.uid == uid)
}

/// Somebody else changed an object again and again before it could be written.
pub(super) fn contested(what: &str, pod: &str) -> Error {
    Error::Aborted {
        why: format!("somebody else keeps changing the {what} of pod {pod}"),
    }
}
