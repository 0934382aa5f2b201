//! A TCP proxy, such as between the daemon and its API server, that can be cut and restored.

use std::path::PathBuf;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use wsman::cluster::connect::{Source, connect};

use super::cluster::Cluster;

/// What a proxy does with its traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections stay, and nothing passes, as when the other machine loses power.
    Silent,
    Cut,
}

/// A connection to a server that tests can cut.
pub(crate) struct Link {
    addr: String,
    way: watch::Sender<Way>,
    connections: TaskTracker,
}

impl Link {
    /// Puts a proxy before a server.
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let way = watch::Sender::new(Way::Open);
        let connections = TaskTracker::new();
        let forward = forward(listener, server, way.subscribe(), connections.clone());
        tokio::spawn(forward);
        Self {
            addr,
            way,
            connections,
        }
    }

    /// Where to connect instead.
    pub(crate) fn addr(&self) -> &str {
        &self.addr
    }

    /// Closes all connections and every new one; returns when nothing passes any more.
    pub(crate) async fn cut(&self) {
        self.way.send_replace(Way::Cut);
        self.connections.close();
        self.connections.wait().await;
        self.connections.reopen();
    }

    /// Passes nothing any more, without closing anything.
    pub(crate) fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    /// Lets connections through again.
    pub(crate) async fn mend(&self) {
        self.way.send_replace(Way::Open);
    }
}

/// A connection to the API server that tests can cut.
pub(crate) struct Proxy {
    /// How to connect through it.
    pub(crate) kubeconfig: PathBuf,
    link: Link,
    _folder: tempfile::TempDir,
}

impl Proxy {
    /// Puts a proxy before the API server of a cluster.
    pub(crate) async fn before(cluster: &Cluster) -> Self {
        let text = std::fs::read_to_string(&cluster.kubeconfig).unwrap();
        let (_, rest) = text.split_once("://").unwrap();
        let end = |c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'');
        let server = rest.split(end).next().unwrap().to_owned();
        let link = Link::to(server.clone()).await;
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, text.replace(&server, link.addr())).unwrap();
        Self {
            kubeconfig,
            link,
            _folder: folder,
        }
    }

    /// Returns a client that goes through the proxy.
    pub(crate) async fn client(&self) -> kube::Client {
        self.client_as(wsman::cluster::connect::AGENT).await
    }

    /// Returns a client through the proxy with another user agent.
    pub(crate) async fn client_as(&self, agent: &'static str) -> kube::Client {
        connect(Source::Kubeconfig(&self.kubeconfig), agent)
            .await
            .unwrap()
    }

    /// Closes all connections and every new one; returns when nothing passes any more.
    pub(crate) async fn cut(&self) {
        self.link.cut().await;
    }

    /// Lets connections through again.
    pub(crate) async fn mend(&self) {
        self.link.mend().await;
    }
}

async fn forward(
    listener: TcpListener,
    server: String,
    way: watch::Receiver<Way>,
    connections: TaskTracker,
) {
    while let Ok((mut near, _)) = listener.accept().await {
        let (server, mut way) = (server.clone(), way.clone());
        connections.spawn(async move {
            if *way.borrow() != Way::Open {
                return;
            }
            let Ok(mut far) = TcpStream::connect(&server).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                _ = way.wait_for(|way| *way != Way::Open) => {}
            }
            if *way.borrow() == Way::Silent {
                let _ = way.wait_for(|way| *way != Way::Silent).await;
            }
        });
    }
}
