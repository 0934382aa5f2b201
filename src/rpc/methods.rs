//! The methods of a server, read from descriptors: a new one is served, limited and counted without a line here.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prost_reflect::prost_types::method_options::IdempotencyLevel;
use prost_reflect::{
    DescriptorPool, DynamicMessage, MessageDescriptor, MethodDescriptor, ServiceDescriptor, Value,
};

use crate::proto::DESCRIPTORS;

/// Options in the descriptors (`proto/options.proto`).
const DEADLINE_OPTION: &str = "wsman.options.v1.default_deadline_seconds";
const QUALIFIED_ONLY: &str = "wsman.options.v1.qualified_only";
const GRPC_ONLY: &str = "wsman.options.v1.grpc_only";

/// Deadline of a call that sets none and whose method has no option for it (docs/operations.md#limits).
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Method {
    /// Its gRPC path, such as `/package.Service/Method`.
    pub path: String,
    /// Its request.
    pub input: MessageDescriptor,
    /// Its response.
    pub output: MessageDescriptor,
    /// Whether it is a server stream.
    pub streams: bool,
    /// Whether it is a client stream.
    pub takes_many: bool,
    /// Whether it only reads, so that GET is allowed.
    pub reads: bool,
    /// Deadline of a call that sets none.
    pub default_deadline: Duration,
    /// Whether HTTP serves it.
    over_http: bool,
}

/// All methods of a server.
#[derive(Debug, Clone, Default)]
pub struct Methods(Arc<Table>);

#[derive(Debug, Clone, Default)]
struct Table {
    /// By gRPC path.
    by_path: HashMap<String, Arc<Method>>,
    /// Those that HTTP serves under their name alone.
    by_name: HashMap<String, Arc<Method>>,
    /// Services that are passed through; only their names are known.
    passthrough: Vec<&'static str>,
}

impl Methods {
    /// Reads the methods of all services that `proto/` describes.
    ///
    /// # Errors
    /// If the descriptors cannot be read, or two methods that are served over HTTP have the same name.
    pub fn load() -> anyhow::Result<Self> {
        let pool = DescriptorPool::decode(DESCRIPTORS)?;
        let mut methods = Self::default();
        for service in pool.services() {
            methods.add(&service)?;
        }
        Ok(methods)
    }

    /// Adds the methods of a service, over HTTP unless its options say otherwise.
    ///
    /// # Errors
    /// If one of another service has the same name, so that the name alone leads to neither.
    pub fn add(&mut self, service: &ServiceDescriptor) -> anyhow::Result<()> {
        let grpc_only = option(service.parent_pool(), &service.options(), GRPC_ONLY);
        if grpc_only.and_then(|value| value.as_bool()) == Some(true) {
            self.add_grpc_only(service);
            return Ok(());
        }
        let table = Arc::make_mut(&mut self.0);
        for method in service.methods() {
            let mut described = Method::new(&method);
            described.over_http = !described.takes_many;
            let described = Arc::new(described);
            table
                .by_path
                .insert(described.path.clone(), Arc::clone(&described));
            let qualified = option(method.parent_pool(), &method.options(), QUALIFIED_ONLY);
            if described.takes_many || qualified.and_then(|value| value.as_bool()) == Some(true) {
                continue;
            }
            let path = described.path.clone();
            let other = table.by_name.insert(method.name().to_owned(), described);
            if let Some(other) = other.filter(|other| other.path != path) {
                anyhow::bail!(
                    "{path} and {} would both be /rpc/{}",
                    other.path,
                    method.name()
                );
            }
        }
        Ok(())
    }

    /// Adds the methods of a service that HTTP does not serve.
    pub fn add_grpc_only(&mut self, service: &ServiceDescriptor) {
        let table = Arc::make_mut(&mut self.0);
        for method in service.methods() {
            let described = Method::new(&method);
            table
                .by_path
                .insert(described.path.clone(), Arc::new(described));
        }
    }

    /// Adds a service that is passed through.
    pub fn add_passthrough(&mut self, service: &'static str) {
        Arc::make_mut(&mut self.0).passthrough.push(service);
    }

    /// Returns the method of a gRPC path.
    pub fn by_path(&self, path: &str) -> Option<&Arc<Method>> {
        self.0.by_path.get(path)
    }

    /// Whether a path is of a service that is passed through.
    pub fn is_passthrough(&self, path: &str) -> bool {
        let service = path.split('/').nth(1).unwrap_or_default();
        self.0.passthrough.contains(&service)
    }

    /// Whether a path is a server stream. A call that is passed through may be one.
    pub fn streams(&self, path: &str) -> bool {
        let method = self.by_path(path).or_else(|| self.find(path));
        method.map_or_else(|| self.is_passthrough(path), |method| method.streams)
    }

    /// Returns the method of an HTTP path: `/rpc/<Method>`, `/<Service>/<Method>`, or both joined, which Connect
    /// clients send with the base URL `http://host/rpc`.
    pub fn find(&self, path: &str) -> Option<&Arc<Method>> {
        let rest = path.strip_prefix("/rpc").unwrap_or(path);
        let name = rest.strip_prefix('/')?;
        if name.contains('/') {
            return self.by_path(rest).filter(|method| method.over_http);
        }
        let below = rest.len() < path.len();
        self.0.by_name.get(name).filter(|_| below)
    }

    /// Returns every method that HTTP serves, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Method>> {
        let all = self.0.by_path.values();
        all.filter(|method| method.over_http)
    }
}

impl Method {
    fn new(method: &MethodDescriptor) -> Self {
        let options = method.method_descriptor_proto().options.as_ref();
        let level = options.map(|options| options.idempotency_level());
        let deadline = option(method.parent_pool(), &method.options(), DEADLINE_OPTION);
        let seconds = deadline.and_then(|value| value.as_u32());
        Self {
            path: format!("/{}/{}", method.parent_service().full_name(), method.name()),
            input: method.input(),
            output: method.output(),
            streams: method.is_server_streaming(),
            takes_many: method.is_client_streaming(),
            reads: level == Some(IdempotencyLevel::NoSideEffects),
            default_deadline: seconds.map_or(DEFAULT_DEADLINE, |seconds| {
                Duration::from_secs(seconds.into())
            }),
            over_http: false,
        }
    }

    pub fn is_unary(&self) -> bool {
        !self.streams && !self.takes_many
    }
}

/// Returns the service of a name.
///
/// # Errors
/// If none of the pools describes it.
pub fn service<'a>(
    pools: impl IntoIterator<Item = &'a DescriptorPool>,
    name: &str,
) -> anyhow::Result<ServiceDescriptor> {
    let mut pools = pools.into_iter();
    let found = pools.find_map(|pool| pool.get_service_by_name(name));
    found.with_context(|| format!("no descriptor has the service {name}"))
}

/// Returns one of our options, if it is set.
fn option(pool: &DescriptorPool, options: &DynamicMessage, name: &str) -> Option<Value> {
    let extension = pool.get_extension_by_name(name)?;
    let is_set = options.has_extension(&extension);
    is_set.then(|| options.get_extension(&extension).into_owned())
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
            assert!(method.streams && method.reads && methods.streams(path));
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
            "/rpc/GetImageSpec",
            "/registryfacade.SpecProvider/GetImageSpec",
        ] {
            assert!(methods.find(path).is_none(), "{path}");
            assert!(!methods.streams(path), "{path}");
        }
        let image = "/registryfacade.SpecProvider/GetImageSpec";
        assert_eq!(methods.by_path(image).unwrap().path, image);
    }

    #[test]
    fn only_what_reads_may_be_got() {
        let methods = Methods::load().unwrap();
        let reads = |name: &str| methods.find(&format!("/rpc/{name}")).unwrap().reads;
        for name in ["GetWorkspaces", "DescribeWorkspace", "Subscribe"] {
            assert!(reads(name), "{name}");
        }
        for name in [
            "StartWorkspace",
            "StopWorkspace",
            "BackupWorkspace",
            "MarkActive",
            "SetTimeout",
            "ControlPort",
            "TakeSnapshot",
            "ControlAdmission",
            "DeleteVolumeSnapshot",
            "UpdateSSHKey",
        ] {
            assert!(!reads(name), "{name}");
        }
    }

    #[test]
    fn only_a_start_has_longer() {
        let methods = Methods::load().unwrap();
        let other = methods
            .iter()
            .filter(|method| method.default_deadline != DEFAULT_DEADLINE);
        let other: Vec<_> = other
            .map(|method| (method.path.as_str(), method.default_deadline.as_secs()))
            .collect();
        assert_eq!(other, [("/wsman.WorkspaceManager/StartWorkspace", 60)]);
    }

    #[test]
    fn what_is_passed_through_may_stream() {
        let mut methods = Methods::load().unwrap();
        assert!(!methods.streams("/builder.ImageBuilder/Build"));
        methods.add_passthrough("builder.ImageBuilder");
        assert!(methods.streams("/builder.ImageBuilder/Build"));
        assert!(!methods.streams("/builder.ImageBuilderX/Build"));
        assert!(!methods.streams("/rpc/GetWorkspaces"));
    }
}
