//! Parses certificates and keys in PEM form, and reports why TLS could not use them.

use jiff::Timestamp;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::CertificateDer;
use std::sync::Arc;
use x509_parser::certificate::X509Certificate;

use crate::tls;

/// Checks a certificate and its chain.
pub(super) fn certificate(text: &str, now: Timestamp) -> Result<(), String> {
    let chain = read(text)?;
    for (at, der) in chain.iter().enumerate() {
        let what = match (at, chain.len()) {
            (_, 1) => String::new(),
            (at, _) => format!("certificate {}: ", at + 1),
        };
        let valid = parse(der).and_then(|parsed| in_time(&parsed, now));
        valid.map_err(|why| format!("{what}{why}"))?;
    }
    Ok(())
}

/// Checks authorities: one valid certificate is enough.
pub(super) fn authority(text: &str, now: Timestamp) -> Result<(), String> {
    let mut why = String::new();
    for der in read(text)? {
        match in_time(&parse(&der)?, now) {
            Ok(()) => return Ok(()),
            Err(because) => why = because,
        }
    }
    Err(why)
}

/// Returns after how many days the first certificate expires.
pub(super) fn days_left(text: &str, now: Timestamp) -> Option<i64> {
    let chain = read(text).ok()?;
    let end = parse(chain.first()?).ok()?.validity().not_after.timestamp();
    Some((end - now.as_second()) / 86_400)
}

/// Parses a private key.
pub(super) fn private_key(text: &str) -> Result<Arc<dyn SigningKey>, String> {
    if text.contains("ENCRYPTED") {
        return Err("is encrypted; give a key without a passphrase".to_owned());
    }
    let key = tls::key(text.as_bytes()).map_err(|_| {
        if text.contains("BEGIN CERTIFICATE") {
            "holds a certificate, not a private key".to_owned()
        } else {
            "holds no private key in PEM form".to_owned()
        }
    })?;
    let unusable = |_| "holds a private key of a kind that TLS cannot use".to_owned();
    rustls::crypto::ring::sign::any_supported_type(&key).map_err(unusable)
}

/// Whether a key belongs to the first of the certificates; other checks report what cannot be parsed.
pub(super) fn match_key(certificates: &str, key: &Arc<dyn SigningKey>) -> bool {
    let Ok(chain) = read(certificates) else {
        return true;
    };
    CertifiedKey::new(chain, Arc::clone(key))
        .keys_match()
        .is_ok()
}

fn read(text: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    match tls::certificates(text.as_bytes()) {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) if text.contains("PRIVATE KEY") => {
            Err("holds a private key, not a certificate".to_owned())
        }
        Ok(_) => Err("holds no certificate in PEM form".to_owned()),
        Err(_) => Err("holds a broken PEM block".to_owned()),
    }
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    match x509_parser::parse_x509_certificate(der) {
        Ok((_, certificate)) => Ok(certificate),
        Err(_) => Err("is no X.509 certificate".to_owned()),
    }
}

fn in_time(certificate: &X509Certificate<'_>, now: Timestamp) -> Result<(), String> {
    let validity = certificate.validity();
    let day = |seconds| {
        let time = Timestamp::from_second(seconds).unwrap_or_default();
        time.strftime("%Y-%m-%d").to_string()
    };
    let (from, to) = (
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    );
    if to < now.as_second() {
        return Err(format!("expired on {}", day(to)));
    }
    if from > now.as_second() {
        return Err(format!("is not valid before {}", day(from)));
    }
    Ok(())
}
