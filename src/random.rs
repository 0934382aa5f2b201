//! Names that nobody else has.

use crate::error::Error;

/// Returns a random UUID.
///
/// # Errors
/// [`Error::Internal`] if the system has no randomness.
pub fn uuid() -> Result<String, Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| Error::Internal {
        why: format!("no randomness: {error}"),
    })?;
    let uuid = uuid::Builder::from_random_bytes(bytes).into_uuid();
    Ok(uuid.to_string())
}
