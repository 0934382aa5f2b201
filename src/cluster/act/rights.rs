//! Asks the API server what we may do. A review is created, but nothing is stored.

use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::Actor;
use super::call::decode;
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
        let call = self.call("asking for our rights", deadline);
        let text = call.create_unless(REVIEWS, &review, |_| false).await?;
        let review: Review = decode(&text.unwrap_or_default())?;
        Ok(review.status.allowed)
    }
}
