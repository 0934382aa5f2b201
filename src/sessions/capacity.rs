//! Pools as callers see them, and whether a session can ever have its machines.

use std::collections::BTreeMap;

use super::rules::SessionRules;
use super::survey::{PoolView, Survey};
use crate::error::Error;
use crate::proto::wsman::sessions::v1::{Pool, SessionSpec};

/// Checks that the pools of a session are there, and large enough.
///
/// # Errors
/// [`Error::NotFound`] with the pools that there are, [`Error::Capacity`] with what is requested.
pub fn check(spec: &SessionSpec, survey: &Survey<'_>) -> Result<(), Error> {
    let mut needs: BTreeMap<&str, u32> = BTreeMap::new();
    for component in &spec.components {
        *needs.entry(&component.pool).or_default() += 1;
    }
    for pool in needs.keys() {
        if survey.largest(pool).is_none() {
            return Err(Error::NotFound {
                noun: "pool",
                id: (*pool).to_owned(),
                known: survey.pools().map(|pool| pool.name.to_owned()).collect(),
            });
        }
    }
    for (pool, requested) in needs {
        let capacity = survey.largest(pool).unwrap_or_default();
        if requested > capacity {
            return Err(Error::Capacity {
                what: format!("pool {pool}"),
                requested,
                capacity,
            });
        }
    }
    Ok(())
}

/// Returns a pool as the API has it.
pub fn wire(pool: &PoolView<'_>, rules: &SessionRules) -> Pool {
    let supply = pool.supply;
    let roles = rules.default_pools.iter();
    let roles = roles.filter(|(_, of_role)| *of_role == pool.name);
    Pool {
        name: pool.name.to_owned(),
        capacity: supply.capacity,
        in_use: supply.in_use,
        free: supply.free(),
        queued: pool.queued,
        elastic: supply.elastic,
        default_for: roles.map(|(role, _)| role.clone()).collect(),
        fixed: rules.pools.fixed.contains_key(pool.name),
    }
}
