//! What a Service serves, and whether it is what another would.

use std::borrow::Cow;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::objects;

/// What a Service serves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Served<'a> {
    /// It has no cluster IP.
    pub headless: bool,
    /// Its ports, in order.
    pub ports: &'a [objects::ServicePort],
}

impl<'a> Served<'a> {
    /// Returns what a Service that was read serves.
    pub fn by(service: &'a objects::Service) -> Self {
        Self {
            headless: service.spec.is_headless(),
            ports: &service.spec.ports,
        }
    }

    /// Whether it serves what another would.
    pub fn is_as(self, wanted: &Service) -> bool {
        self.is(&built(wanted))
    }

    /// Whether it is to be made anew to serve what another would: a headless Service maps no port, and whether a Service
    /// is headless cannot be changed.
    pub fn must_be_made_anew(self, wanted: &Service) -> bool {
        self.headless && built(wanted).iter().any(Port::maps)
    }

    /// A Service that does its work stays as it is, with a cluster IP or without.
    pub fn is(self, wanted: &[Port<'_>]) -> bool {
        self.ports.len() == wanted.len()
            && self.ports.iter().zip(wanted).all(|(t, w)| w.is(t))
            && !(self.headless && wanted.iter().any(Port::maps))
    }
}

/// One port of a Service, as far as it is ours to say.
#[derive(Debug)]
pub struct Port<'a> {
    pub name: Cow<'a, str>,
    pub number: u32,
    pub target: u32,
    pub app_protocol: &'a str,
}

fn built(service: &Service) -> Vec<Port<'_>> {
    let ports = service.spec.as_ref().and_then(|spec| spec.ports.as_ref());
    ports.into_iter().flatten().map(Port::of).collect()
}

impl<'a> Port<'a> {
    fn of(port: &'a ServicePort) -> Self {
        let target = match &port.target_port {
            Some(IntOrString::Int(number)) => number.unsigned_abs(),
            _ => 0,
        };
        Self {
            name: Cow::Borrowed(port.name.as_deref().unwrap_or_default()),
            number: port.port.unsigned_abs(),
            target,
            app_protocol: port.app_protocol.as_deref().unwrap_or_default(),
        }
    }

    /// Whether the pod listens on another port.
    pub fn maps(&self) -> bool {
        self.target != self.number
    }

    pub fn build(&self) -> ServicePort {
        // Ports are at most 65535.
        let number = |port: u32| i32::try_from(port).unwrap_or_default();
        ServicePort {
            name: Some(self.name.clone().into_owned()),
            port: number(self.number),
            protocol: Some("TCP".to_owned()),
            app_protocol: Some(self.app_protocol.to_owned()).filter(|text| !text.is_empty()),
            target_port: Some(IntOrString::Int(number(self.target))),
            ..ServicePort::default()
        }
    }

    fn is(&self, there: &objects::ServicePort) -> bool {
        there.name == self.name
            && there.port == i64::from(self.number)
            && there.target_port == i64::from(self.target)
            && there.app_protocol == self.app_protocol
    }
}
