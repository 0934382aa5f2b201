//! The message bus delivers at least once: a message may be repeated under its id, once per reconnect of its consumer
//! or of a publisher.

use std::collections::HashMap;
use std::sync::Arc;

use super::violation::Evidence;

/// The messages about one workspace, by id.
#[derive(Debug, Clone, Default)]
pub(super) struct Messages(HashMap<String, Message>);

#[derive(Debug, Clone)]
struct Message {
    first: Arc<Evidence>,
    repeats: u64,
    /// Reconnects before its first delivery.
    reconnects: u64,
}

impl Messages {
    /// Adds a message. Returns nothing if it is new, otherwise whether it may be repeated, and if not the first one
    /// and the reason.
    pub(super) fn arrived(
        &mut self,
        seen: &Arc<Evidence>,
        reconnects: u64,
    ) -> Option<Result<(), (Arc<Evidence>, &'static str)>> {
        let id = seen.state.message_id.as_ref()?;
        let Some(message) = self.0.get_mut(id) else {
            let message = Message {
                first: Arc::clone(seen),
                repeats: 0,
                reconnects,
            };
            self.0.insert(id.clone(), message);
            return None;
        };
        message.repeats += 1;
        let fault = if !message.first.state.may_share_id(&seen.state) {
            Some("one message id stands for two states")
        } else if message.repeats > reconnects - message.reconnects {
            Some("a message came again more often than there were reconnects")
        } else {
            None
        };
        Some(fault.map_or(Ok(()), |why| Err((Arc::clone(&message.first), why))))
    }
}
