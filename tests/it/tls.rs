//! TLS on the gRPC port: a client that trusts the certificate gets in, others do not, and nobody else is delayed.

use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use wsman::grpc::listen;
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;

use super::support::cluster;
use super::support::world::World;

/// Writes a certificate for the name that the classic clients expect.
fn write_certificate(folder: &Path) -> String {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["ws-manager".to_owned()]).unwrap();
    std::fs::write(folder.join("tls.crt"), cert.pem()).unwrap();
    std::fs::write(folder.join("tls.key"), signing_key.serialize_pem()).unwrap();
    cert.pem()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_clients_that_trust_the_certificate_get_in() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let trusted = write_certificate(folder.path());
    for ca in [None, Some(folder.path().join("tls.crt"))] {
        let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
        let tls = listen::tls(ca.as_deref(), &certificate, &key).unwrap();
        let world = World::start_secure(&cluster, tls).await;
        // Somebody who never says hello holds up nobody (F-S10).
        let mut mute = TcpStream::connect(world.addr).await.unwrap();
        let connect = |ca: &str| {
            let tls = ClientTlsConfig::new()
                .ca_certificate(Certificate::from_pem(ca))
                .domain_name("ws-manager");
            let endpoint = Endpoint::from_shared(format!("https://{}", world.addr)).unwrap();
            async move { endpoint.tls_config(tls).unwrap().connect().await }
        };
        let mut client = WorkspaceManagerClient::new(connect(&trusted).await.unwrap());
        client
            .describe_cluster(DescribeClusterRequest {})
            .await
            .unwrap();
        let other = write_certificate(tempfile::tempdir().unwrap().path());
        assert!(connect(&other).await.is_err(), "another authority");
        let plain = Endpoint::from_shared(format!("http://{}", world.addr)).unwrap();
        let mut plain = WorkspaceManagerClient::new(plain.connect_lazy());
        assert!(
            plain
                .describe_cluster(DescribeClusterRequest {})
                .await
                .is_err(),
            "in the clear"
        );
        // And is shown out in the end.
        assert_eq!(mute.read(&mut [0]).await.unwrap_or(0), 0);
        drop((client, plain));
        world.drain().await.unwrap();
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    for (ca, certificate, key, named) in [
        (
            Some(folder.path().join("no")),
            certificate.clone(),
            key.clone(),
            "certificates from",
        ),
        (
            None,
            folder.path().join("no"),
            key.clone(),
            "certificates from",
        ),
        (
            None,
            certificate.clone(),
            folder.path().join("no"),
            "private key from",
        ),
        (
            None,
            certificate.clone(),
            certificate.clone(),
            "private key from",
        ),
    ] {
        let error = listen::tls(ca.as_deref(), &certificate, &key).unwrap_err();
        assert!(format!("{error:#}").contains(named), "{error:#}");
    }
}
