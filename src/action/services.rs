//! Services that are kept in line with the marks of a pod.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Service;

use super::PodRef;
use crate::objects::Meta;

/// Builds the Services that labels and annotations of a pod call for, in a namespace; without a cluster IP where the flag
/// says so and they need none.
#[derive(Clone, Copy)]
pub struct BuildServices(pub Build);

type Marks = BTreeMap<String, String>;
type Build = fn(&str, &Marks, &Marks, bool) -> Vec<Service>;

impl fmt::Debug for BuildServices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BuildServices")
    }
}

/// A noun has one way to build them.
impl PartialEq for BuildServices {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Which Services to bring in line, and with what.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceSync {
    /// The pod that owns them.
    pub owner: PodRef,
    /// The pod whose marks say what they are to be.
    pub pod: PodRef,
    /// Names of all that it may own.
    pub names: Vec<String>,
    pub build: BuildServices,
    /// New ones have no cluster IP unless they need one.
    pub headless: bool,
    /// Annotation of the pod that says why one was refused.
    pub refused: &'static str,
}

impl ServiceSync {
    /// Returns the Services that a pod with these marks calls for.
    pub fn build(&self, namespace: &str, marks: &Meta) -> Vec<Service> {
        let BuildServices(build) = self.build;
        build(namespace, &marks.labels, &marks.annotations, self.headless)
    }
}
