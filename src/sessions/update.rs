//! A session as it is published.

use std::sync::{Arc, OnceLock};

use prost::Message as _;

use super::filter::Filter;
use crate::proto::wsman::sessions::v1::{
    Phase, Session, SessionSpec, SessionStatus, SubscribeResponse,
};
use crate::updates::{self, Update};

/// A status that subscribers get to see.
#[derive(Debug, Clone)]
pub struct SessionUpdate {
    pub id: Arc<str>,
    /// uid of the anchor.
    pub start_uid: Arc<str>,
    pub spec: Arc<SessionSpec>,
    pub status: SessionStatus,
    /// The message that streams send for it, once one did.
    pub message: OnceLock<SubscribeResponse>,
}

impl SessionUpdate {
    /// Returns the session as the API has it.
    pub fn session(&self) -> Session {
        Session {
            id: self.id.to_string(),
            spec: Some(SessionSpec::clone(&self.spec)),
            status: Some(self.status.clone()),
        }
    }

    /// Returns the phase.
    pub fn phase(&self) -> Phase {
        self.status.phase()
    }
}

impl PartialEq for SessionUpdate {
    fn eq(&self, other: &Self) -> bool {
        self.start_uid == other.start_uid && self.status == other.status && self.spec == other.spec
    }
}

impl Update for SessionUpdate {
    type Topic = Arc<str>;
    type Filter = Filter;

    const ENDED_STAY: bool = true;

    fn group_id(&self) -> Arc<str> {
        Arc::clone(&self.id)
    }

    fn start_uid(&self) -> &Arc<str> {
        &self.start_uid
    }

    fn version(&self) -> u64 {
        self.status.version
    }

    fn is_last(&self) -> bool {
        self.status.done
    }

    fn topics(&self) -> Vec<Arc<str>> {
        vec![self.spec.queue.as_str().into()]
    }

    fn same(&self, other: &Self) -> bool {
        let at = |version| SessionStatus {
            version,
            ..self.status.clone()
        };
        self.start_uid == other.start_uid && at(other.status.version) == other.status
    }

    fn at(&self, version: u64) -> Self {
        Self {
            status: SessionStatus {
                version,
                ..self.status.clone()
            },
            message: OnceLock::new(),
            ..self.clone()
        }
    }

    fn size(&self) -> usize {
        self.spec.encoded_len() + self.status.encoded_len()
    }
}

impl updates::Filter<SessionUpdate> for Filter {
    fn matches(&self, update: &SessionUpdate) -> bool {
        self.selects(&update.id, &update.spec, update.phase())
    }

    fn topic(&self) -> Option<Arc<str>> {
        let queue = self.queue();
        (!queue.is_empty()).then(|| queue.into())
    }
}
