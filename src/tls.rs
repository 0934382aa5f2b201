//! Reads certificates and keys in PEM form, and makes of them what a client needs.

use std::sync::Arc;

use anyhow::Context;
use rustls::crypto::CryptoProvider;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::{Error, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// A certificate with those that signed it, and its key.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The cryptography of all connections.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Takes the certificates out of a text.
///
/// # Errors
/// If a block is broken.
pub fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

/// Takes the private key out of a text.
///
/// # Errors
/// If there is none.
pub fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem)
}

/// Reads certificates from a file.
///
/// # Errors
/// If it cannot be read.
pub fn read_certificates(path: &str) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .with_context(|| format!("cannot read certificates from {path}"))
}

/// Reads a certificate and its key from their files.
///
/// # Errors
/// If one of them cannot be read.
pub fn read_identity(cert: &str, key: &str) -> anyhow::Result<Identity> {
    let read = PrivateKeyDer::from_pem_file(key);
    let read = read.with_context(|| format!("cannot read a private key from {key}"))?;
    Ok((read_certificates(cert)?, read))
}

/// Trusts these authorities alone.
///
/// # Errors
/// If one of them is no certificate.
pub fn roots(authorities: Vec<CertificateDer<'static>>) -> Result<RootCertStore, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority)?;
    }
    Ok(roots)
}

/// Returns how to connect to a server that `roots` vouch for.
///
/// # Errors
/// If certificate and key do not fit.
pub fn client(
    roots: RootCertStore,
    identity: Option<Identity>,
) -> Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key),
    }
}
