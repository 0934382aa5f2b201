//! The pods and containers that run, for those who ask by name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::container::Running;

/// Running containers of each pod, by its uid and their names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table(Arc<Mutex<HashMap<String, Containers>>>);

type Containers = HashMap<String, Arc<Running>>;

/// Keeps a pod in the table.
#[derive(Debug)]
pub(crate) struct Listed {
    table: Table,
    uid: String,
}

impl Table {
    pub(crate) fn insert(&self, uid: &str) -> Listed {
        self.lock().insert(uid.to_owned(), HashMap::new());
        Listed {
            table: self.clone(),
            uid: uid.to_owned(),
        }
    }

    pub(crate) fn has(&self, uid: &str) -> bool {
        self.lock().contains_key(uid)
    }

    pub(crate) fn started(&self, uid: &str, container: &str, running: &Arc<Running>) {
        if let Some(containers) = self.lock().get_mut(uid) {
            containers.insert(container.to_owned(), running.clone());
        }
    }

    pub(crate) fn ended(&self, uid: &str, container: &str, run: i32) {
        if let Some(containers) = self.lock().get_mut(uid)
            && containers.get(container).is_some_and(|one| one.run == run)
        {
            containers.remove(container);
        }
    }

    /// The container, if it runs.
    pub(crate) fn find(&self, uid: &str, container: &str) -> Option<Arc<Running>> {
        self.lock().get(uid)?.get(container).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Containers>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.table.lock().remove(&self.uid);
    }
}
