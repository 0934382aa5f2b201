//! `Rights`: what clients may do. Everything, until a test removes a right; then requests are forbidden as on a real
//! API server, and access reviews show it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::Method;
use serde_json::{Value, json};

use super::request::{Query, Target};
use super::resources::RESOURCES;
use super::reviews::REVIEWS;
use super::status::Status;

/// The only user.
pub(crate) const USER: &str = "embedded";
/// The groups of the user.
pub(crate) const GROUPS: [&str; 2] = ["system:masters", "system:authenticated"];

/// The verbs of objects, as discovery and rules list them.
pub(crate) const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

/// The rights of the clients of one server. Only in-process callers change them.
#[derive(Clone, Debug, Default)]
pub struct Rights(Arc<Mutex<Vec<Taken>>>);

/// A right that was removed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Taken {
    verb: String,
    /// `pods`, `pods/status` or `leases.coordination.k8s.io`.
    resource: String,
}

/// The attributes of a request for an authorizer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Access<'a> {
    pub(crate) verb: &'a str,
    pub(crate) group: &'a str,
    pub(crate) resource: &'a str,
    pub(crate) subresource: &'a str,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
}

impl Rights {
    /// Removes a right. `verb` and `resource` are as for `kubectl auth can-i`: `list` and `pods`, `patch` and
    /// `pods/status`, `update` and `leases.coordination.k8s.io`; `*` means all.
    pub fn take(&self, verb: &str, resource: &str) {
        let (verb, resource) = (verb.into(), resource.into());
        self.locked().push(Taken { verb, resource });
    }

    /// Restores all rights.
    pub fn give_back(&self) {
        self.locked().clear();
    }

    /// Whether the access is allowed. A `*` in it is allowed only while no part of it is removed.
    pub(crate) fn allow(&self, access: &Access<'_>) -> bool {
        let resource = access.path();
        let meets = |taken: &str, asked: &str| taken == asked || taken == "*" || asked == "*";
        !self
            .locked()
            .iter()
            .any(|taken| meets(&taken.verb, access.verb) && meets(&taken.resource, &resource))
    }

    /// Rejects what is not allowed, with the text of a real server.
    pub(crate) fn check(&self, access: &Access<'_>) -> Result<(), Status> {
        if self.allow(access) {
            Ok(())
        } else {
            Err(access.forbidden())
        }
    }

    /// The rights as rules: a list of what is allowed, as `kubectl auth can-i --list` shows it.
    pub(crate) fn rules(&self) -> Value {
        if self.locked().is_empty() {
            return json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]);
        }
        let objects = RESOURCES.iter().map(|one| (one.group, one.plural, VERBS));
        let reviews = REVIEWS
            .iter()
            .map(|one| (one.group, one.plural, &["create"][..]));
        let rules = objects
            .chain(reviews)
            .filter_map(|(group, resource, verbs)| {
                let allowed = |verb: &&&str| {
                    self.allow(&Access {
                        verb,
                        group,
                        resource,
                        ..Access::default()
                    })
                };
                let verbs: Vec<_> = verbs.iter().filter(allowed).collect();
                let rule = json!({"verbs": verbs, "apiGroups": [group], "resources": [resource]});
                (!verbs.is_empty()).then_some(rule)
            });
        rules.collect()
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Taken>> {
        // No holder of the lock panics.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Access<'a> {
    /// The action of the request on this target.
    pub(crate) fn of(method: &Method, target: &'a Target, query: &Query) -> Self {
        let named = !target.name.is_empty();
        let verb = match method.as_str() {
            "GET" if target.watch || query.is_set("watch") => "watch",
            "GET" | "HEAD" if named => "get",
            "GET" | "HEAD" => "list",
            "POST" => "create",
            "PUT" => "update",
            "PATCH" => "patch",
            "DELETE" if named => "delete",
            "DELETE" => "deletecollection",
            _ => "",
        };
        Self {
            verb,
            group: target.resource.group,
            resource: target.resource.plural,
            subresource: &target.subresource,
            namespace: &target.namespace,
            name: &target.name,
        }
    }

    /// `pods`, `pods/status` or `leases.coordination.k8s.io`.
    fn path(&self) -> String {
        let mut path = self.qualified();
        if !self.subresource.is_empty() {
            path = format!("{path}/{}", self.subresource);
        }
        path
    }

    fn qualified(&self) -> String {
        match self.group {
            "" | "*" => self.resource.into(),
            group => format!("{}.{group}", self.resource),
        }
    }

    fn forbidden(&self) -> Status {
        let mut resource = self.resource.to_owned();
        if !self.subresource.is_empty() {
            resource = format!("{resource}/{}", self.subresource);
        }
        let scope = match self.namespace {
            "" => "at the cluster scope".into(),
            namespace => format!("in the namespace {namespace:?}"),
        };
        let why = format!(
            "User {USER:?} cannot {} resource {resource:?} in API group {:?} {scope}",
            self.verb, self.group
        );
        let qualified = self.qualified();
        let message = match self.name {
            "" => format!("{qualified} is forbidden: {why}"),
            name => format!("{qualified} {name:?} is forbidden: {why}"),
        };
        let mut details = json!({"kind": self.resource});
        for (key, value) in [("name", self.name), ("group", self.group)] {
            if !value.is_empty() {
                details[key] = value.into();
            }
        }
        Status {
            details: Some(details),
            ..Status::new(403, "Forbidden", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access<'a>(verb: &'a str, group: &'a str, resource: &'a str) -> Access<'a> {
        Access {
            verb,
            group,
            resource,
            ..Access::default()
        }
    }

    #[test]
    fn everything_is_allowed_until_it_is_taken_away() {
        let rights = Rights::default();
        let lists = access("list", "", "pods");
        assert!(rights.allow(&lists));
        assert!(rights.allow(&access("*", "*", "*")));
        rights.take("list", "pods");
        rights.take("*", "leases.coordination.k8s.io");
        assert!(!rights.allow(&lists));
        assert!(rights.allow(&access("watch", "", "pods")));
        assert!(!rights.allow(&access("update", "coordination.k8s.io", "leases")));
        assert!(!rights.allow(&access("*", "", "pods")));
        // A subresource is a separate resource.
        let status = Access {
            subresource: "status",
            ..lists
        };
        assert!(rights.allow(&status));
        rights.give_back();
        assert!(rights.allow(&lists));
    }

    #[test]
    fn rules_leave_out_what_was_taken_away() {
        let rights = Rights::default();
        assert_eq!(rights.rules()[0]["verbs"], json!(["*"]));
        rights.take("delete", "pods");
        rights.take("*", "secrets");
        let rules = rights.rules();
        let rules = rules.as_array().unwrap();
        let of = |resource| rules.iter().find(|rule| rule["resources"][0] == resource);
        let verbs = of("pods").unwrap()["verbs"].as_array().unwrap();
        assert_eq!(verbs.len(), VERBS.len() - 1);
        assert!(!verbs.contains(&json!("delete")));
        assert!(of("secrets").is_none());
    }
}
