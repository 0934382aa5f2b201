//! The rules for rate limits: existing methods, and fields of their requests.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::faults::Faults;
use super::rule::{given, must};
use super::settings::RateLimit;
use crate::json::join;
use crate::proto::method::Unary;

/// Longest time to fill a bucket: a hundred years. Longer ones exceed nanoseconds in 64 bits.
const LONGEST_FILL: i128 = 100 * 365 * 86_400 * 1_000_000_000;

/// Rules of the schema for the limits.
pub(super) fn rules() -> Vec<Value> {
    let keys = Unary::all().map(|(name, method)| {
        let fields = method.fields().join("|").replace('.', "\\.");
        let pattern = match fields.is_empty() {
            true => "^$".to_owned(),
            false => format!("^( *({fields}) *(, *({fields}) *)*)?$"),
        };
        (
            name,
            json!({ "properties": { "key": { "pattern": pattern } } }),
        )
    });
    let keys: Map<String, Value> = keys.collect();
    let names: Vec<_> = keys.keys().collect();
    let mut remembered = must("keyCacheSize");
    remembered["properties"]["keyCacheSize"] = json!({ "type": "integer", "minimum": 1 });
    let remembered = json!({ "if": given("key"), "then": remembered });
    vec![
        json!({ "propertyNames": { "enum": names } }),
        json!({ "properties": keys }),
        json!({ "additionalProperties": remembered }),
    ]
}

/// Reports the problems of the limits.
pub(super) fn check(limits: &BTreeMap<String, RateLimit>, faults: &mut Faults) {
    for (name, limit) in limits {
        let path = join("rpcServer.ratelimits", name);
        match Unary::find(name) {
            Err(why) => faults.add(&path, why),
            Ok(method) => {
                for why in limit.keys().filter_map(|key| method.field(key).err()) {
                    faults.add(format!("{path}.key"), why);
                }
            }
        }
        faults.unless(
            limit.key.is_empty() || limit.key_cache_size > 0,
            &format!("{path}.keyCacheSize"),
            "must be at least 1 beside a key: it says how many buckets are remembered",
        );
        if limit.key.is_empty() && limit.key_cache_size > 0 {
            faults.warn(format!("{path}.keyCacheSize"), "has no effect without key");
        }
        let refill = limit.refill_interval.as_nanos();
        faults.unless(
            i128::from(refill) * i128::from(limit.bucket_size) <= LONGEST_FILL,
            &format!("{path}.refillInterval"),
            format!(
                "is {}: a bucket of {} would take more than a hundred years to fill",
                limit.refill_interval, limit.bucket_size
            ),
        );
    }
}

impl RateLimit {
    /// Returns the paths of the fields that select the bucket; none for one bucket in all.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        let keys = self.key.split(',').map(str::trim);
        keys.filter(|_| !self.key.is_empty())
    }
}
