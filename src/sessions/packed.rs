//! A spec as it is kept on the anchor: base64 of gzip of its encoding.

use std::io::{Read, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use prost::Message;

use crate::proto::wsman::sessions::v1::SessionSpec;

/// Most bytes of a spec that is unpacked: what a person put onto a pod must not fill the memory.
const MAX_UNPACKED: u64 = 16 << 20;

/// Packs a spec.
pub fn pack(spec: &SessionSpec) -> String {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    // Writing to memory does not fail.
    let _ = encoder.write_all(&spec.encode_to_vec());
    STANDARD.encode(encoder.finish().unwrap_or_default())
}

/// Unpacks a spec.
///
/// # Errors
/// Why it is none.
pub fn unpack(text: &str) -> Result<SessionSpec, String> {
    let bytes = STANDARD.decode(text).map_err(|e| e.to_string())?;
    let mut decoder = GzDecoder::new(bytes.as_slice()).take(MAX_UNPACKED);
    let mut encoded = Vec::new();
    decoder
        .read_to_end(&mut encoded)
        .map_err(|e| e.to_string())?;
    SessionSpec::decode(encoded.as_slice()).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_is_the_same_again() {
        let spec = SessionSpec {
            decider: "driver".to_owned(),
            priority: -7,
            ..SessionSpec::default()
        };
        assert_eq!(unpack(&pack(&spec)), Ok(spec));
    }

    #[test]
    fn what_is_no_spec_is_an_error() {
        for text in ["", "%", "aGVsbG8="] {
            assert!(unpack(text).is_err(), "{text}");
        }
    }
}
