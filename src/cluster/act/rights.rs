//! Asks the API server what we may do. A review is created, but nothing is stored.

use http::Method;
use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::{Actor, JSON, encode, unreadable};
use crate::cluster::request::{self, Request};
use crate::cluster::rights::Right;
use crate::error::Error;

const REVIEWS: &str = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

#[derive(Debug, Default, Deserialize)]
struct Review {
    #[serde(default)]
    status: Answer,
}

#[derive(Debug, Default, Deserialize)]
struct Answer {
    #[serde(default)]
    allowed: bool,
}

impl Actor {
    /// Whether one verb of a right is ours.
    ///
    /// # Errors
    /// As [`Actor::act`]; a server may refuse to say.
    pub async fn may(&self, right: &Right, verb: &str, deadline: Instant) -> Result<bool, Error> {
        let namespace = match right.cluster {
            true => "",
            false => self.namespace.as_str(),
        };
        let review = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": { "resourceAttributes": {
                "namespace": namespace, "verb": verb, "group": right.group, "resource": right.resource,
            } },
        });
        let request = Request {
            method: Method::POST,
            path: REVIEWS,
            content_type: JSON,
            body: encode(&review)?,
        };
        let answer = request::send(&self.client, &request, deadline).await;
        let text = answer.map_err(|failure| failure.into_error("asking for our rights"))?;
        let review: Review = serde_json::from_str(&text).map_err(|error| unreadable(&error))?;
        Ok(review.status.allowed)
    }
}
