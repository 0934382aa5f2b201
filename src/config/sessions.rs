//! `sessions`: queues, pools, and the limits of what a session may ask for.

use std::collections::BTreeMap;
use std::time::Duration;

use super::faults::Faults;
use super::file::{self, Order};
use crate::duration::GoDuration;
use crate::json::join;
use crate::names::{is_dns_label, is_dns_subdomain, is_name_part};
use crate::redact::show;
use crate::sessions::admission::Discipline;
use crate::sessions::pools::PoolRules;
use crate::sessions::rules::{DEFAULT_QUEUE, Limit, QueueRules, SessionRules};

/// Kubernetes counts deadlines in whole seconds.
const SHORTEST: GoDuration = GoDuration::from_secs(1);
const LONGEST: GoDuration = GoDuration::from_secs(365 * 86_400);
/// How Kubernetes names labels and their values.
const VALUE: &str =
    "at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends";

/// Returns what the configuration says about sessions.
pub(super) fn sessions(
    block: file::Sessions,
    namespace: String,
    faults: &mut Faults,
) -> SessionRules {
    faults.unless(
        is_name_part(&block.installation),
        "sessions.installation",
        format!(
            "is {}; the value of a label has {VALUE}",
            show(&block.installation)
        ),
    );
    let queues = queues(block.queues, faults);
    let pools = pools(block.pools, faults);
    for (role, pool) in &block.default_pools {
        let path = join("sessions.defaultPools", role);
        faults.unless(
            is_dns_label(role),
            &path,
            "is no role; a role has at most 63 lower-case letters, digits and '-', such as \"driver\"",
        );
        let why = format!("is {}; the name of a pool has {VALUE}", show(pool));
        faults.unless(is_name_part(pool), &path, why);
    }
    for (at, prefix) in block.image_prefixes.iter().enumerate() {
        faults.unless(
            is_image_prefix(prefix),
            &format!("sessions.imagePrefixes[{at}]"),
            format!(
                "is {}; must be an image without a scheme, or a prefix of images that ends in '/', such as \"registry.example.com/bench/\"",
                show(prefix)
            ),
        );
    }
    SessionRules {
        namespace,
        installation: block.installation,
        queues,
        pools,
        default_pools: block.default_pools,
        image_prefixes: block.image_prefixes,
        max_components: usize::try_from(block.max_components).unwrap_or(usize::MAX),
        deadline: limit("sessions.deadline", block.deadline, faults),
        ttl: limit("sessions.ttl", block.ttl, faults),
        provisioning: span("sessions.provisioning", block.provisioning, faults),
        image: span("sessions.imageTimeout", block.image_timeout, faults),
        unschedulable: span(
            "sessions.unschedulableTimeout",
            block.unschedulable_timeout,
            faults,
        ),
    }
}

fn queues(
    given: BTreeMap<String, file::Queue>,
    faults: &mut Faults,
) -> BTreeMap<String, QueueRules> {
    let mut queues = BTreeMap::from([(DEFAULT_QUEUE.to_owned(), QueueRules::default())]);
    for (name, queue) in given {
        let path = join("sessions.queues", &name);
        faults.unless(
            is_dns_label(&name),
            &path,
            "is no name of a queue; it has at most 63 lower-case letters, digits and '-', such as \"nightly\"",
        );
        let at = format!("{path}.barrier");
        let is_given = queue.barrier > GoDuration::default();
        let discipline = match queue.order {
            Order::Backfill if is_given => Discipline::Backfill {
                barrier: span(&at, queue.barrier, faults),
            },
            Order::Backfill => QueueRules::default().discipline,
            Order::Strict => {
                if is_given {
                    faults.warn(at, "has no effect with the discipline \"strict\"");
                }
                Discipline::Strict
            }
        };
        let limit = Some(queue.limit).filter(|limit| *limit > 0);
        queues.insert(name, QueueRules { discipline, limit });
    }
    queues
}

fn pools(given: file::Pools, faults: &mut Faults) -> PoolRules {
    let mut check_key = |path: &str, key: &str| {
        let why = format!(
            "is {}; a key has {VALUE}, and may have a DNS name and '/' before it",
            show(key)
        );
        faults.unless(is_label_key(key), path, why);
    };
    check_key("sessions.pools.label", &given.label);
    for (at, key) in given.tolerations.iter().enumerate() {
        check_key(&format!("sessions.pools.tolerations[{at}]"), key);
    }
    for (key, slots) in [("elastic", &given.elastic), ("fixed", &given.fixed)] {
        for pool in slots.keys() {
            let path = join(&format!("sessions.pools.{key}"), pool);
            let why = format!("is no name of a pool, which has {VALUE}");
            faults.unless(is_name_part(pool), &path, why);
        }
    }
    PoolRules {
        label: given.label,
        tolerated: given.tolerations,
        elastic: given.elastic,
        fixed: given.fixed,
    }
}

fn limit(path: &str, limit: file::Limit, faults: &mut Faults) -> Limit {
    let (default, longest) = (limit.default, limit.longest);
    let at = format!("{path}.default");
    if !faults.is_unread(&format!("{path}.longest")) {
        faults.unless(
            default <= longest,
            &at,
            format!("is {default}; must not be more than longest, which is {longest}"),
        );
    }
    Limit {
        default: span(&at, default, faults),
        longest: span(&format!("{path}.longest"), longest, faults),
    }
}

/// Returns a duration within what Kubernetes can count.
fn span(path: &str, given: GoDuration, faults: &mut Faults) -> Duration {
    faults.unless(
        given >= SHORTEST,
        path,
        format!("is {given}; must not be less than 1s"),
    );
    faults.unless(
        given <= LONGEST,
        path,
        format!("is {given}; must not be more than 8760h, which is a year"),
    );
    given.to_std()
}

/// Whether a text may be the key of a label or of a taint.
fn is_label_key(text: &str) -> bool {
    match text.split_once('/') {
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name_part(name),
        None => is_name_part(text),
    }
}

fn is_image_prefix(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_graphic())
        && !text.starts_with('/')
        && !text.contains("://")
}
