//! The RPCs of the service as its descriptors tell them: a new one is served over HTTP without a line here.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use prost_reflect::prost_types::method_options::IdempotencyLevel;
use prost_reflect::{DescriptorPool, MessageDescriptor};

use crate::proto::DESCRIPTORS;

/// The service that is served over HTTP.
pub const SERVICE: &str = "wsman.WorkspaceManager";

/// One RPC.
#[derive(Debug)]
pub struct Method {
    /// Its path in gRPC, such as `/wsman.WorkspaceManager/Subscribe`.
    pub path: String,
    /// What it takes.
    pub input: MessageDescriptor,
    /// What it answers.
    pub output: MessageDescriptor,
    /// Whether it answers many times.
    pub streams: bool,
    /// Whether it changes nothing, so that GET may ask for it.
    pub reads: bool,
}

/// All of them, by name.
#[derive(Debug, Clone)]
pub struct Methods(Arc<HashMap<String, Arc<Method>>>);

impl Methods {
    /// Reads the descriptors that this program carries.
    ///
    /// # Errors
    /// If they do not describe the service.
    pub fn load() -> anyhow::Result<Self> {
        let pool = DescriptorPool::decode(DESCRIPTORS)?;
        let service = pool.get_service_by_name(SERVICE).context(SERVICE)?;
        let methods = service
            .methods()
            .filter(|method| !method.is_client_streaming())
            .map(|method| {
                let options = method.method_descriptor_proto().options.as_ref();
                let level = options.map(|options| options.idempotency_level());
                let described = Method {
                    path: format!("/{SERVICE}/{}", method.name()),
                    input: method.input(),
                    output: method.output(),
                    streams: method.is_server_streaming(),
                    reads: level == Some(IdempotencyLevel::NoSideEffects),
                };
                (method.name().to_owned(), Arc::new(described))
            });
        Ok(Self(Arc::new(methods.collect())))
    }

    /// Returns the RPC of a path: `/rpc/<Method>`, `/wsman.WorkspaceManager/<Method>`, or the one below the other,
    /// which is what Connect clients make of the base URL `http://host/rpc`.
    pub fn find(&self, path: &str) -> Option<Arc<Method>> {
        let rest = path.strip_prefix("/rpc").unwrap_or(path);
        let rest = rest.strip_prefix('/')?;
        let name = match rest.split_once('/') {
            Some((SERVICE, name)) => name,
            Some(_) => return None,
            None if rest.len() + 1 == path.len() => return None,
            None => rest,
        };
        self.0.get(name).cloned()
    }

    /// Returns every RPC, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Method>> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_methods() {
        let methods = Methods::load().unwrap();
        for path in [
            "/rpc/Subscribe",
            "/wsman.WorkspaceManager/Subscribe",
            "/rpc/wsman.WorkspaceManager/Subscribe",
        ] {
            let method = methods.find(path).unwrap();
            assert_eq!(method.path, "/wsman.WorkspaceManager/Subscribe");
            assert!(method.streams && method.reads);
        }
        for path in [
            "",
            "/",
            "/rpc",
            "/rpc/",
            "/Subscribe",
            "/rpcSubscribe",
            "/rpc/subscribe",
            "/rpc/Subscribe/",
            "/rpc//Subscribe",
            "/rpc/other.Service/Subscribe",
            "/grpc.health.v1.Health/Check",
        ] {
            assert!(methods.find(path).is_none(), "{path}");
        }
    }

    #[test]
    fn only_what_reads_may_be_got() {
        let methods = Methods::load().unwrap();
        let mut reads: Vec<_> = methods.iter().filter(|method| method.reads).collect();
        reads.sort_by_key(|method| &method.path);
        let names: Vec<_> = reads
            .iter()
            .filter_map(|method| method.path.rsplit('/').next())
            .collect();
        assert_eq!(
            names,
            [
                "DescribeCluster",
                "DescribeWorkspace",
                "GetWorkspaces",
                "Subscribe"
            ]
        );
    }
}
