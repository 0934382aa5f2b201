//! Which changes of a configuration take effect while the daemon runs, and which at its next start.

use super::settings::{Rpc, Settings};
use crate::sessions::rules::SessionRules;

impl Settings {
    /// Takes over `manager`, `sessions` and `rpcServer.ratelimits` of a new configuration. Returns the settings to continue
    /// with and the keys whose change needs a restart: what is bound, connected or watched already, and the offset
    /// of status versions.
    pub fn renew(&self, new: Self) -> (Self, Vec<&'static str>) {
        let mut settings = self.clone();
        settings.manager = new.manager;
        settings.rpc.rate_limits = new.rpc.rate_limits.clone();
        let (old, manager) = (&self.manager, &mut settings.manager);
        let rpc = Rpc {
            rate_limits: self.rpc.rate_limits.clone(),
            ..new.rpc
        };
        let (sessions, waiting_sessions) = renew_sessions(self.sessions.as_ref(), new.sessions);
        settings.sessions = sessions;
        let waiting = [
            ("manager.namespace", old.namespace != manager.namespace),
            (
                "manager.statusVersionOffset",
                old.status_version_offset != manager.status_version_offset,
            ),
            (
                "manager.eventTraceLog",
                old.event_trace_log != manager.event_trace_log,
            ),
            ("rpcServer", self.rpc != rpc),
            ("kubernetes", self.kubernetes != new.kubernetes),
            ("messagebus", self.message_bus != new.message_bus),
            ("imageBuilderProxy", self.image_builder != new.image_builder),
            ("health", self.health_addr != new.health_addr),
            ("prometheus", self.prometheus_addr != new.prometheus_addr),
            ("pprof", self.pprof_addr != new.pprof_addr),
        ];
        manager.namespace.clone_from(&old.namespace);
        manager.status_version_offset = old.status_version_offset;
        manager.event_trace_log.clone_from(&old.event_trace_log);
        let waiting = waiting.into_iter().filter(|(_, changed)| *changed);
        let waiting = waiting.map(|(key, _)| key).chain(waiting_sessions);
        (settings, waiting.collect())
    }
}

/// What selects the pods of sessions stays, and so does whether they are served.
fn renew_sessions(
    old: Option<&SessionRules>,
    new: Option<SessionRules>,
) -> (Option<SessionRules>, Vec<&'static str>) {
    let (Some(old), Some(mut new)) = (old, new.clone()) else {
        let waiting = (old.is_some() != new.is_some()).then_some("sessions");
        return (old.cloned(), Vec::from_iter(waiting));
    };
    let waiting = [
        (
            "sessions.installation",
            old.installation != new.installation,
        ),
        ("sessions.pools.label", old.pools.label != new.pools.label),
    ];
    new.namespace.clone_from(&old.namespace);
    new.installation.clone_from(&old.installation);
    new.pools.label.clone_from(&old.pools.label);
    let waiting = waiting.into_iter().filter(|(_, changed)| *changed);
    (Some(new), waiting.map(|(key, _)| key).collect())
}
