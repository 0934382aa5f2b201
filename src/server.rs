//! Composes the server: services, health, reflection, HTTP and limits. A service is registered with one line and gets
//! all of them from its descriptor.

pub mod health;
pub mod listen;

use std::convert::Infallible;
use std::time::Duration;

use axum::response::IntoResponse;
use prost_reflect::{DescriptorPool, ServiceDescriptor};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_web::GrpcWebLayer;
use tower::Service;
use tower::util::option_layer;

use crate::http::hosts::{HostLayer, Hosts};
use crate::http::{self, HttpLayer};
use crate::proto;
use crate::readiness::Components;
use crate::rpc::REQUEST_LIMIT;
use crate::rpc::call::CallContext;
use crate::rpc::intake::IntakeLayer;
use crate::rpc::methods::{self, Methods};
use listen::Connections;

#[derive(Debug, Default)]
pub struct Services {
    routes: Routes,
    methods: Methods,
    names: Vec<&'static str>,
    /// Encoded descriptor sets and their pools.
    described: Vec<(&'static [u8], DescriptorPool)>,
}

impl Services {
    /// Returns no services, with the descriptors of `proto/`.
    ///
    /// # Errors
    /// If a descriptor cannot be read.
    pub fn new() -> anyhow::Result<Self> {
        Self::default().describe(proto::DESCRIPTORS)
    }

    /// Adds descriptors of services, or of messages for clients to print, such as error details.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn describe(mut self, descriptors: &'static [u8]) -> anyhow::Result<Self> {
        let pool = DescriptorPool::decode(descriptors)?;
        self.described.push((descriptors, pool));
        Ok(self)
    }

    /// Registers a service.
    ///
    /// # Errors
    /// If no descriptor has it, or two methods have the same HTTP path.
    pub fn register<S>(mut self, service: S) -> anyhow::Result<Self>
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService,
        S: Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.methods.add(&self.descriptor(S::NAME)?)?;
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        Ok(self)
    }

    /// Adds a service that is passed through.
    pub fn passthrough<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService,
        S: Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.methods.add_passthrough(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    pub fn methods(&self) -> &Methods {
        &self.methods
    }

    /// Adds one of gRPC's own services, which HTTP does not serve.
    fn add_grpc_only<S>(mut self, service: S) -> anyhow::Result<Self>
    where
        S: Service<Request<Body>, Error = Infallible> + NamedService,
        S: Clone + Send + Sync + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.methods.add_grpc_only(&self.descriptor(S::NAME)?);
        self.routes = self.routes.add_service(service);
        Ok(self)
    }

    fn descriptor(&self, name: &str) -> anyhow::Result<ServiceDescriptor> {
        methods::service(self.described.iter().map(|(_, pool)| pool), name)
    }

    /// Adds health and reflection.
    async fn complete(
        self,
        components: watch::Receiver<Components>,
        draining: CancellationToken,
    ) -> anyhow::Result<(Self, impl Future<Output = anyhow::Result<()>>)> {
        let (health, keep_health) = health::service(self.names.clone(), components, draining).await;
        let services = self
            .describe(tonic_health::pb::FILE_DESCRIPTOR_SET)?
            .describe(tonic_types::pb::FILE_DESCRIPTOR_SET)?;
        let reflection = || {
            let mut builder = tonic_reflection::server::Builder::configure();
            for (descriptors, _) in &services.described {
                builder = builder.register_encoded_file_descriptor_set(descriptors);
            }
            // Only these of the described services are served.
            let health = tonic_health::pb::health_server::SERVICE_NAME;
            for name in services.names.iter().copied().chain([health]) {
                builder = builder.with_service_name(name);
            }
            builder
        };
        let v1 = reflection().build_v1()?;
        // The Python client and older grpcurl support only this version.
        let v1alpha = reflection().build_v1alpha()?;
        let services = services
            .describe(tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET)?
            .describe(tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET)?
            .add_grpc_only(health.max_decoding_message_size(REQUEST_LIMIT))?
            .add_grpc_only(v1.max_decoding_message_size(REQUEST_LIMIT))?
            .add_grpc_only(v1alpha.max_decoding_message_size(REQUEST_LIMIT))?;
        Ok((services, keep_health))
    }
}

/// A server that does not listen yet.
#[derive(Debug)]
pub struct Server {
    services: Services,
    context: CallContext,
}

impl Server {
    /// Returns a server of these services, and the task that updates its health.
    ///
    /// # Errors
    /// If the descriptors conflict.
    pub async fn new(
        services: Services,
        context: CallContext,
        components: watch::Receiver<Components>,
        draining: CancellationToken,
    ) -> anyhow::Result<(Self, impl Future<Output = anyhow::Result<()>>)> {
        let (services, keep_health) = services.complete(components, draining).await?;
        Ok((Self { services, context }, keep_health))
    }

    /// Serves until `closing` is set and every connection ended. Dropping it closes all.
    ///
    /// # Errors
    /// If the transport fails.
    pub async fn serve(
        self,
        connections: Connections,
        hosts: Hosts,
        closing: CancellationToken,
    ) -> anyhow::Result<()> {
        let Self { services, context } = self;
        let cors = http::cors(&hosts.origins);
        // The limits and their reasons: docs/operations.md#limits.
        tonic::transport::Server::builder()
            // JSON needs HTTP/1.1. JSON and gRPC-Web work over both versions, gRPC over HTTP/2.
            .accept_http1(true)
            .http2_keepalive_interval(Some(Duration::from_secs(20)))
            .http2_keepalive_timeout(Some(Duration::from_secs(10)))
            // Above the limits of a connection, which return an error; above this one calls only wait.
            .max_concurrent_streams(10_000)
            .initial_stream_window_size(256 << 10)
            .initial_connection_window_size(1 << 20)
            .tcp_nodelay(true)
            .layer(HostLayer::new(hosts))
            .layer(option_layer(cors))
            .layer(HttpLayer::new(services.methods.clone()))
            .layer(GrpcWebLayer::new())
            .layer(IntakeLayer::new(services.methods, context))
            .add_routes(services.routes)
            .serve_with_incoming_shutdown(connections, closing.cancelled_owned())
            .await?;
        Ok(())
    }
}
