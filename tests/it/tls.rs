//! TLS on the gRPC port: clients that trust the certificate connect, with a certificate of the right authority if one
//! is required, and no other client is delayed.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CertifiedKey, IsCa, KeyPair,
    date_time_ymd, generate_simple_self_signed,
};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use wsman::config::{ClientAuth, Tls};
use wsman::proto::wsman::workspace_manager_client::WorkspaceManagerClient;
use wsman::proto::wsman::*;
use wsman::server::listen;

use super::http::verbs::run;
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

/// The files of a server in a folder.
fn files(folder: &Path, ca: Option<&str>) -> Tls {
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    Tls {
        ca: ca.map_or_else(String::new, path),
        cert: path("tls.crt"),
        key: path("tls.key"),
    }
}

/// Writes an authority, and its certificates, valid and expired: `NAME.crt`, `NAME-good.crt` and so on.
fn write_authority(folder: &Path, name: &str) {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = CertifiedIssuer::self_signed(authority, key).unwrap();
    std::fs::write(folder.join(format!("{name}.crt")), authority.pem()).unwrap();
    for (which, year) in [("good", 4000), ("expired", 2020)] {
        let mut params = CertificateParams::new(vec!["caller".to_owned()]).unwrap();
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &authority).unwrap();
        let path = |ending: &str| folder.join(format!("{name}-{which}.{ending}"));
        std::fs::write(path("crt"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_need_a_certificate_of_the_authority() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    write_certificate(folder.path());
    write_authority(folder.path(), "ours");
    write_authority(folder.path(), "theirs");
    for (clients, without) in [(ClientAuth::Require, 6), (ClientAuth::Request, 0)] {
        let tls = listen::tls(&files(folder.path(), Some("ours.crt")), clients).unwrap();
        let world = World::start_secure(&cluster, tls).await;
        for (certificate, code) in [
            ("", without),
            ("theirs-good", 6),
            ("ours-expired", 6),
            ("ours-good", 0),
        ] {
            for address in [
                format!("grpcs://{}", world.addr),
                format!("https://{}/rpc", world.addr),
            ] {
                let mut args = vec!["--ca".to_owned(), path("tls.crt"), "cluster".to_owned()];
                if !certificate.is_empty() {
                    let (cert, key) = (format!("{certificate}.crt"), format!("{certificate}.key"));
                    let identity = [
                        "--cert".to_owned(),
                        path(&cert),
                        "--key".to_owned(),
                        path(&key),
                    ];
                    args.extend(identity);
                }
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                let output = run(&address, &args).await;
                let error = String::from_utf8_lossy(&output.stderr);
                let ended = (output.status.code(), certificate);
                assert_eq!(
                    ended,
                    (Some(code), certificate),
                    "{clients:?} {address}: {error}"
                );
            }
        }
        world.drain().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_clients_that_trust_the_certificate_get_in() {
    let cluster = cluster::embedded().await;
    let folder = tempfile::tempdir().unwrap();
    let trusted = write_certificate(folder.path());
    for (ca, clients) in [
        (None, ClientAuth::None),
        (Some("tls.crt"), ClientAuth::Request),
    ] {
        let tls = listen::tls(&files(folder.path(), ca), clients).unwrap();
        let world = World::start_secure(&cluster, tls).await;
        // A client that never starts its handshake delays no other (F-S10).
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
        // And is disconnected at the end.
        assert_eq!(mute.read(&mut [0]).await.unwrap_or(0), 0);
        drop((client, plain));
        world.drain().await.unwrap();
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let folder = tempfile::tempdir().unwrap();
    write_certificate(folder.path());
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    for (ca, certificate, key, named) in [
        ("no", "tls.crt", "tls.key", "certificates from"),
        ("tls.crt", "no", "tls.key", "certificates from"),
        ("tls.crt", "tls.crt", "no", "private key from"),
        ("tls.crt", "tls.crt", "tls.crt", "private key from"),
    ] {
        let files = Tls {
            ca: path(ca),
            cert: path(certificate),
            key: path(key),
        };
        let error = listen::tls(&files, ClientAuth::Require).unwrap_err();
        assert!(format!("{error:#}").contains(named), "{error:#}");
    }
}
