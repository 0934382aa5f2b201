//! What changed between two statuses of one workspace, in words.

use super::words;
use crate::proto::wsman::{PortSpec, WorkspaceSpec, WorkspaceStatus};

/// The message if it is new, every new condition, and what callers changed. Without an earlier status, everything that
/// is set.
pub(super) fn between(before: Option<&WorkspaceStatus>, now: &WorkspaceStatus) -> String {
    let mut parts = Vec::new();
    if before.is_none_or(|before| before.message != now.message) {
        parts.extend(Some(now.message.clone()).filter(|message| !message.is_empty()));
    }
    conditions(before, now, &mut parts);
    if let Some(before) = before {
        let node = |status: &WorkspaceStatus| status.runtime.clone().map(|r| r.node_name);
        if let Some(name) = node(now).filter(|name| !name.is_empty())
            && node(before).as_ref() != Some(&name)
        {
            parts.push(format!("on node {name}"));
        }
        spec(before, now, &mut parts);
        let is_same = before.phase == now.phase && before.message == now.message;
        if parts.is_empty() && is_same {
            // The status of the protocol has neither the keys nor the marks of the pod.
            parts.push("SSH keys changed, or something else that no status shows".to_owned());
        }
    }
    parts.join("; ")
}

fn conditions(before: Option<&WorkspaceStatus>, now: &WorkspaceStatus, parts: &mut Vec<String>) {
    let old = before.map(words::conditions).unwrap_or_default();
    let new = words::conditions(now);
    parts.extend(
        new.iter()
            .filter(|entry| !old.contains(entry))
            .map(|(name, value)| format!("{name}={value}")),
    );
    let cleared = old
        .iter()
        .filter(|(name, _)| new.iter().all(|(other, _)| other != name));
    parts.extend(cleared.map(|(name, _)| format!("{name} cleared")));
}

fn spec(before: &WorkspaceStatus, now: &WorkspaceStatus, parts: &mut Vec<String>) {
    let none = WorkspaceSpec::default();
    let old = before.spec.as_ref().unwrap_or(&none);
    let new = now.spec.as_ref().unwrap_or(&none);
    for (name, old, new) in [
        ("timeout", &old.timeout, &new.timeout),
        ("closed timeout", &old.closed_timeout, &new.closed_timeout),
    ] {
        match (old == new, new.as_str()) {
            (true, _) => {}
            (false, "") => parts.push(format!("{name} removed")),
            // Zero disables it.
            (false, "0" | "0s") if name == "closed timeout" => parts.push(format!("{name} off")),
            (false, _) => parts.push(format!("{name} {new}")),
        }
    }
    ports(&old.exposed_ports, &new.exposed_ports, parts);
    let admission =
        |status: &WorkspaceStatus| status.auth.as_ref().map_or(0, |auth| auth.admission);
    if admission(before) != admission(now) {
        parts.push(format!("admits {}", words::admission(admission(now))));
    }
}

fn ports(old: &[PortSpec], new: &[PortSpec], parts: &mut Vec<String>) {
    let find = |ports: &[PortSpec], number| ports.iter().find(|port| port.port == number).cloned();
    for port in new {
        let (visibility, protocol) = words::port(port);
        let before = find(old, port.port);
        match before.as_ref().map(words::port) {
            None => parts.push(format!(
                "port {} exposed: {visibility}, {protocol}",
                port.port
            )),
            Some(before) if before != (visibility.clone(), protocol.clone()) => {
                parts.push(format!("port {} is {visibility}, {protocol}", port.port));
            }
            Some(_) => {}
        }
    }
    let hidden = old.iter().filter(|port| find(new, port.port).is_none());
    parts.extend(hidden.map(|port| format!("port {} hidden", port.port)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::wsman::{
        AdmissionLevel, PortProtocol, PortVisibility, WorkspaceAuthentication, WorkspacePhase,
    };

    fn status(change: impl Fn(&mut WorkspaceStatus)) -> WorkspaceStatus {
        let mut status = WorkspaceStatus {
            id: "x".to_owned(),
            phase: WorkspacePhase::Running.into(),
            spec: Some(WorkspaceSpec {
                timeout: "30m".to_owned(),
                exposed_ports: vec![port(1, 0, 0), port(2, 0, 0)],
                ..Default::default()
            }),
            ..Default::default()
        };
        change(&mut status);
        status
    }

    fn port(port: u32, visibility: i32, protocol: i32) -> PortSpec {
        PortSpec {
            port,
            visibility,
            protocol,
            ..Default::default()
        }
    }

    fn spec_of(status: &mut WorkspaceStatus) -> &mut WorkspaceSpec {
        status.spec.get_or_insert_default()
    }

    #[test]
    fn changes_of_callers_are_printed_in_words() {
        let before = status(|_| {});
        let words = |change: &dyn Fn(&mut WorkspaceStatus)| between(Some(&before), &status(change));
        assert_eq!(
            words(&|s| {
                spec_of(s).timeout = "1h".to_owned();
                spec_of(s).closed_timeout = "0".to_owned();
            }),
            "timeout 1h; closed timeout off"
        );
        assert_eq!(
            words(&|s| spec_of(s).closed_timeout = "5m".to_owned()),
            "closed timeout 5m"
        );
        assert_eq!(words(&|s| spec_of(s).timeout.clear()), "timeout removed");
        let public = PortVisibility::Public.into();
        let https = PortProtocol::Https.into();
        assert_eq!(
            words(&|s| spec_of(s).exposed_ports = vec![port(2, public, https), port(3, 0, 0)]),
            "port 2 is public, https; port 3 exposed: private, http; port 1 hidden"
        );
        assert_eq!(
            words(&|s| {
                s.auth = Some(WorkspaceAuthentication {
                    admission: AdmissionLevel::AdmitEveryone.into(),
                    ..Default::default()
                });
            }),
            "admits everyone"
        );
        assert_eq!(words(&|s| s.set_phase(WorkspacePhase::Stopping)), "");
        assert_eq!(words(&|s| s.message = "hello".to_owned()), "hello");
    }

    #[test]
    fn changes_that_no_status_shows_are_printed_too() {
        let same = between(Some(&status(|_| {})), &status(|s| s.status_version = 9));
        assert_eq!(
            same,
            "SSH keys changed, or something else that no status shows"
        );
        assert_eq!(between(None, &status(|_| {})), "");
    }
}
