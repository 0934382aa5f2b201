//! The identity of a replica: a host, a random number for this start, and its process, so that a successor on the same
//! host or in the same pod can find out that it has ended.

use std::fmt;
use std::str::FromStr;

/// The identity of one start of a replica. Its text is `HOST_START` or `HOST_START_NAMESPACE.PID.BEGAN` or
/// `HOST_START_NAMESPACE.PID.BEGAN.CONTAINER`; all except the host and the numbers of the process in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the host, for people; in a pod the name of the pod.
    pub host: String,
    /// Random.
    pub start: u64,
    /// The process, if the system shows it.
    pub process: Option<Process>,
}

/// A process on a machine since its boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// Hash of the host, its boot and the PID namespace.
    pub namespace: u64,
    pub pid: u32,
    /// Start time, in ticks since the boot: ids are reused.
    pub began: u64,
    /// Hash of the pod and the container, if it runs in one.
    pub container: Option<u64>,
}

/// How this replica can find out whether a process has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    /// It is, or was, in our PID namespace: the system shows whether it runs.
    SameNamespace(Process),
    /// It ran in our container before a restart, so it has ended.
    EarlierContainer,
    /// This machine does not know.
    Elsewhere,
}

impl Identity {
    /// Returns how this replica can find out whether another has ended.
    pub fn relation(&self, other: &Self) -> Relation {
        let (Some(own), Some(their)) = (self.process, other.process) else {
            return Relation::Elsewhere;
        };
        if self.host != other.host {
            Relation::Elsewhere
        } else if own.namespace == their.namespace {
            // First: a second process in the same container may be alive.
            Relation::SameNamespace(their)
        } else if own.container.is_some() && own.container == their.container {
            Relation::EarlierContainer
        } else {
            Relation::Elsewhere
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{:016x}", self.host, self.start)?;
        let Some(process) = self.process else {
            return Ok(());
        };
        let Process {
            namespace,
            pid,
            began,
            container,
        } = process;
        write!(f, "_{namespace:016x}.{pid}.{began}")?;
        match container {
            Some(container) => write!(f, ".{container:016x}"),
            None => Ok(()),
        }
    }
}

/// The text is no identity of wsman.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign;

impl FromStr for Identity {
    type Err = Foreign;

    fn from_str(text: &str) -> Result<Self, Foreign> {
        let hex = |text: &str| match text.len() {
            16 => u64::from_str_radix(text, 16).map_err(|_| Foreign),
            _ => Err(Foreign),
        };
        let (rest, last) = text.rsplit_once('_').ok_or(Foreign)?;
        if let Ok(start) = hex(last) {
            return Ok(Self {
                host: rest.to_owned(),
                start,
                process: None,
            });
        }
        let (host, start) = rest.rsplit_once('_').ok_or(Foreign)?;
        let mut parts = last.split('.');
        let mut next = || parts.next().ok_or(Foreign);
        let process = Process {
            namespace: hex(next()?)?,
            pid: next()?.parse().map_err(|_| Foreign)?,
            began: next()?.parse().map_err(|_| Foreign)?,
            container: next().ok().map(hex).transpose()?,
        };
        if parts.next().is_some() {
            return Err(Foreign);
        }
        Ok(Self {
            host: host.to_owned(),
            start: hex(start)?,
            process: Some(process),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(namespace: u64, pid: u32, container: Option<u64>) -> Process {
        Process {
            namespace,
            pid,
            began: 77,
            container,
        }
    }

    fn at(host: &str, process: Option<Process>) -> Identity {
        Identity {
            host: host.to_owned(),
            start: 0xfeed,
            process,
        }
    }

    #[test]
    fn texts_are_read_as_they_are_written() {
        for identity in [
            at("a", None),
            at("a_b", Some(process(1, 2, None))),
            at("", Some(process(u64::MAX, u32::MAX, Some(3)))),
        ] {
            let text = identity.to_string();
            assert_eq!(text.parse(), Ok(identity), "{text}");
        }
        for odd in [
            "",
            "a",
            "wsman-7c9f_beef",
            "a_0000000000000001_2.3",
            "a_0000000000000001_0000000000000002.3.4.5",
            "a_0000000000000001_0000000000000002.3.4.0000000000000005.6",
        ] {
            assert_eq!(odd.parse::<Identity>(), Err(Foreign), "{odd}");
        }
    }

    #[test]
    fn only_the_same_namespace_or_container_of_the_same_host_is_conclusive() {
        let own = at("a", Some(process(1, 2, Some(3))));
        let same = process(1, 9, Some(4));
        let relation = |other| own.relation(&other);
        assert_eq!(relation(at("a", Some(same))), Relation::SameNamespace(same));
        // In the same container, and perhaps alive.
        let beside = process(1, 9, Some(3));
        assert_eq!(
            relation(at("a", Some(beside))),
            Relation::SameNamespace(beside)
        );
        assert_eq!(
            relation(at("a", Some(process(8, 9, Some(3))))),
            Relation::EarlierContainer
        );
        for elsewhere in [
            at("b", Some(same)),
            at("b", Some(process(8, 9, Some(3)))),
            at("a", Some(process(8, 9, Some(4)))),
            at("a", Some(process(8, 9, None))),
            at("a", None),
        ] {
            assert_eq!(own.relation(&elsewhere), Relation::Elsewhere);
            assert_eq!(elsewhere.relation(&own), Relation::Elsewhere);
        }
        let bare = at("a", Some(process(1, 2, None)));
        let other = at("a", Some(process(8, 2, None)));
        assert_eq!(bare.relation(&other), Relation::Elsewhere);
    }
}
