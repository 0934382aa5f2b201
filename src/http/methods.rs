//! The RPCs of the service as its descriptors tell them: a new one is served over HTTP without a line here.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::Context;
use prost_reflect::prost_types::method_options::IdempotencyLevel;
use prost_reflect::{DescriptorPool, MessageDescriptor, MethodDescriptor};

use crate::proto::DESCRIPTORS;

/// The service whose methods are served below `/rpc`, too.
pub const SERVICE: &str = "wsman.WorkspaceManager";
/// All services that are served over HTTP. No two have methods of the same name.
const SERVICES: [&str; 2] = [SERVICE, "wsman.inspect.v1.Inspector"];

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
        let mut methods = HashMap::new();
        for name in SERVICES {
            let service = pool.get_service_by_name(name).context(name)?;
            let unary_or_stream = |method: &MethodDescriptor| !method.is_client_streaming();
            for method in service.methods().filter(unary_or_stream) {
                let described = Arc::new(describe(name, &method));
                methods.insert(method.name().to_owned(), described);
            }
        }
        Ok(Self(Arc::new(methods)))
    }

    /// Returns the RPC of a path: `/rpc/<Method>`, `/<Service>/<Method>`, or the one below the other, which is what
    /// Connect clients make of the base URL `http://host/rpc`.
    pub fn find(&self, path: &str) -> Option<Arc<Method>> {
        let rest = path.strip_prefix("/rpc").unwrap_or(path);
        let rest = rest.strip_prefix('/')?;
        let (service, name) = match rest.split_once('/') {
            Some((service, name)) => (Some(service), name),
            None if rest.len() + 1 == path.len() => return None,
            None => (None, rest),
        };
        let method = self.0.get(name)?;
        let asked = |service| method.path == format!("/{service}/{name}");
        service.is_none_or(asked).then(|| Arc::clone(method))
    }

    /// Returns every RPC, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Method>> {
        self.0.values()
    }
}

fn describe(service: &str, method: &MethodDescriptor) -> Method {
    let options = method.method_descriptor_proto().options.as_ref();
    let level = options.map(|options| options.idempotency_level());
    Method {
        path: format!("/{service}/{}", method.name()),
        input: method.input(),
        output: method.output(),
        streams: method.is_server_streaming(),
        reads: level == Some(IdempotencyLevel::NoSideEffects),
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
            "/wsman.inspect.v1.Inspector/Subscribe",
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
                "Subscribe",
                "ExplainWorkspace"
            ]
        );
    }
}
