//! The embedded API server: HTTP/1.1 on loopback in front of a [`Store`].

mod api;
mod bootstrap;
mod claims;
mod clock;
mod defaults;
mod delete;
mod discovery;
mod exec;
pub mod faults;
mod fields;
mod gc;
mod kubelet;
mod logs;
mod openapi;
mod patch;
mod pod_update;
mod pods;
mod protobuf;
pub(crate) mod quantity;
mod read;
pub(crate) mod request;
mod resources;
mod reviews;
pub mod rights;
pub mod rules;
mod selectors;
mod snapshots;
mod spec;
mod status;
pub mod store;
mod table;
mod typed;
mod validate;
mod watch;
mod write;

use std::io;
use std::net::SocketAddr;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::api::{Api, PREFIX};
use self::faults::Faults;
use self::rights::Rights;
use self::store::Store;

/// The options of a [`Server`].
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen; port 0 picks a free one. Only loopback addresses are accepted.
    pub listen: SocketAddr,
    /// The bearer token that clients must present.
    pub token: String,
    /// The number of changes that are kept for watches, before the oldest are dropped.
    pub history: usize,
    /// Collect garbage and empty terminating namespaces, as the controllers of a real cluster do.
    pub controllers: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            token: "embedded".into(),
            history: 4_096,
            controllers: true,
        }
    }
}

/// A running API server. Dropping it closes all connections, as [`Server::stop`] does.
pub struct Server {
    addr: SocketAddr,
    token: String,
    faults: Faults,
    rights: Rights,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Server {
    /// Listens, and serves the store until stopped.
    pub async fn start(store: Store, options: Options) -> io::Result<Self> {
        if !options.listen.ip().is_loopback() {
            let why = format!(
                "the embedded API server speaks plain HTTP and does not listen on {}",
                options.listen
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
        }
        let listener = TcpListener::bind(options.listen).await?;
        Self::serve(listener, store, options)
    }

    /// Apart from [`Server::start`], which is compiled again wherever it is awaited, with the tasks that it spawns.
    fn serve(listener: TcpListener, store: Store, options: Options) -> io::Result<Self> {
        let addr = listener.local_addr()?;
        store.with(|state| {
            state.keep_history(options.history);
            bootstrap::namespaces(state);
        });
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let (faults, rights) = (Faults::default(), Rights::default());
        let api = Api {
            store: store.clone(),
            faults: faults.clone(),
            rights: rights.clone(),
            token: options.token.clone(),
            tasks: tasks.clone(),
            cancel: cancel.clone(),
        };
        let stopped = cancel.clone();
        if options.controllers {
            tasks.spawn(async move { stopped.run_until_cancelled_owned(gc::run(store)).await });
        }
        tasks.spawn(accept(listener, api, tasks.clone(), cancel.clone()));
        Ok(Self {
            addr,
            token: options.token,
            faults,
            rights,
            tasks,
            cancel,
        })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A kubeconfig for this server.
    ///
    /// `kubectl` sends no bearer token over plain HTTP, so the token is a part of the server's URL too.
    pub fn kubeconfig(&self) -> String {
        let name = "embedded";
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: {name}\n  cluster:\n    server: http://{}{PREFIX}{}\nusers:\n\
             - name: {name}\n  user:\n    token: {}\ncontexts:\n- name: {name}\n  context:\n    cluster: {name}\n    \
             user: {name}\n    namespace: default\ncurrent-context: {name}\n",
            self.addr,
            self.token,
            Value::from(self.token.as_str())
        )
    }

    /// Injected faults, and the record of requests.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// What clients may do: everything, until a right is removed.
    pub fn rights(&self) -> &Rights {
        &self.rights
    }

    /// Closes all connections at once and returns when the port is free.
    pub async fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn accept(listener: TcpListener, api: Api, tasks: TaskTracker, cancel: CancellationToken) {
    loop {
        let connection = tokio::select! {
            () = cancel.cancelled() => return,
            connection = listener.accept() => connection,
        };
        match connection {
            Ok((stream, _)) => {
                let (api, cancel) = (api.clone(), cancel.clone());
                tasks.spawn(cancel.run_until_cancelled_owned(serve(stream, api)));
            }
            Err(error) => {
                // Probably no file descriptor is free: let some close before trying again.
                tracing::warn!(%error, "embedded API server: accept");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

async fn serve(stream: TcpStream, api: Api) {
    // Without it, small responses wait for the client's delayed acknowledgement.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| {
        let api = api.clone();
        async move { api.handle(request).await }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new());
    let connection = http.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.with_upgrades().await {
        tracing::debug!(%error, "embedded API server: connection");
    }
}
