//! Reviews: objects that are answered at once and never stored, such as access and self-subject reviews.

use serde_json::{Value, json};

use super::rights::{Access, GROUPS, Rights, USER};
use super::status::{Cause, Status};
use super::validate::text;

/// A kind of review.
#[derive(Debug)]
pub(crate) struct Review {
    pub(crate) group: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) plural: &'static str,
    pub(crate) singular: &'static str,
    answer: fn(&Rights, &mut Value) -> Result<(), Status>,
}

/// Every kind of review.
pub(crate) static REVIEWS: &[Review] = &[
    Review {
        group: "authorization.k8s.io",
        kind: "SelfSubjectAccessReview",
        plural: "selfsubjectaccessreviews",
        singular: "selfsubjectaccessreview",
        answer: access,
    },
    Review {
        group: "authorization.k8s.io",
        kind: "SelfSubjectRulesReview",
        plural: "selfsubjectrulesreviews",
        singular: "selfsubjectrulesreview",
        answer: rules,
    },
    Review {
        group: "authentication.k8s.io",
        kind: "SelfSubjectReview",
        plural: "selfsubjectreviews",
        singular: "selfsubjectreview",
        answer: subject,
    },
];

impl Review {
    /// The kind of review that is created at this path.
    pub(crate) fn at(path: &str) -> Option<&'static Self> {
        let mut parts = path.trim_matches('/').split('/');
        let (apis, group) = (parts.next()?, parts.next()?);
        let (version, plural) = (parts.next()?, parts.next()?);
        let fits = apis == "apis" && version == "v1" && parts.next().is_none();
        let mut all = REVIEWS.iter();
        all.find(|one| fits && one.group == group && one.plural == plural)
    }

    /// Answers the review: its own object, with a status.
    pub(crate) fn answer(&self, rights: &Rights, body: &[u8]) -> Result<Value, Status> {
        rights.check(&Access {
            verb: "create",
            group: self.group,
            resource: self.plural,
            ..Access::default()
        })?;
        let unreadable = |why: String| {
            let kind = self.kind;
            Status::bad_request(format!(
                "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; {why}"
            ))
        };
        let mut review: Value = serde_json::from_slice(body)
            .map_err(|error| unreadable(format!("json parse error: {error}")))?;
        if !review.is_object() {
            return Err(unreadable("json parse error: not an object".into()));
        }
        review["kind"] = self.kind.into();
        review["apiVersion"] = format!("{}/v1", self.group).into();
        if !review["metadata"].is_object() {
            review["metadata"] = json!({});
        }
        (self.answer)(rights, &mut review)?;
        Ok(review)
    }
}

fn access(rights: &Rights, review: &mut Value) -> Result<(), Status> {
    let spec = &review["spec"];
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let invalid = |cause| {
        // The original does not name the kind.
        Err(Status::invalid("authorization.k8s.io", "", "", &[cause]))
    };
    let allowed = match (resource.is_object(), path.is_object()) {
        (true, true) => {
            return invalid(Cause::invalid(
                "spec.nonResourceAttributes",
                path.clone(),
                "cannot be specified in combination with resourceAttributes",
            ));
        }
        (false, false) => {
            return invalid(Cause::invalid(
                "spec.resourceAttributes",
                Value::Null,
                "exactly one of nonResourceAttributes or resourceAttributes must be specified",
            ));
        }
        (true, false) => rights.allow(&Access {
            verb: text(resource, "verb"),
            group: text(resource, "group"),
            resource: text(resource, "resource"),
            subresource: text(resource, "subresource"),
            namespace: text(resource, "namespace"),
            name: text(resource, "name"),
        }),
        // Paths that are no objects are open to every client with the token.
        (false, true) => true,
    };
    review["status"] = json!({"allowed": allowed});
    Ok(())
}

fn rules(rights: &Rights, review: &mut Value) -> Result<(), Status> {
    if text(&review["spec"], "namespace").is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    review["status"] = json!({
        "resourceRules": rights.rules(),
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
        "incomplete": false,
    });
    Ok(())
}

fn subject(_: &Rights, review: &mut Value) -> Result<(), Status> {
    review["status"] = json!({"userInfo": {"username": USER, "groups": GROUPS}});
    Ok(())
}
