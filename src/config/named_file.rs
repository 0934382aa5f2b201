//! A file that a configuration names.

use std::collections::BTreeMap;

/// A file in a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Its key.
    pub key: String,
    /// Its path, as written.
    pub path: String,
    pub role: Role,
}

/// The role of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// A pod template.
    Template,
    /// Certificates of authorities.
    Authority,
    /// A certificate and its chain.
    Certificate,
    /// The private key of a certificate.
    PrivateKey,
    Kubeconfig,
    BrokerUrl,
    /// Credentials of a store.
    Credentials,
    /// Host keys of SSH servers.
    KnownHosts,
}

/// The contents of files, by path as written, or their errors. An absent file is not checked.
pub type Contents = BTreeMap<String, Result<String, String>>;
