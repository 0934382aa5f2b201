//! Where backups lie, as the configuration of the daemon and the plan of the guest have it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where backups lie.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StoreSettings {
    Local {
        path: PathBuf,
    },
    S3 {
        bucket: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        region: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
        #[serde(default, skip_serializing_if = "is_false")]
        allow_http: bool,
        #[serde(default, skip_serializing_if = "is_false")]
        path_style: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        access_key_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret_access_key: Option<String>,
    },
    Gcs {
        bucket: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        credentials: Option<String>,
    },
    Azure {
        account: String,
        container: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        access_key: Option<String>,
    },
}

impl StoreSettings {
    /// What names of backups end in.
    pub fn bucket(&self) -> &str {
        match self {
            Self::Local { .. } => "local",
            Self::S3 { bucket, .. } | Self::Gcs { bucket, .. } => bucket,
            Self::Azure { container, .. } => container,
        }
    }
}

/// It shows no credentials.
impl fmt::Debug for StoreSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Local { path } => return f.debug_struct("Local").field("path", path).finish(),
            Self::S3 { .. } => "S3",
            Self::Gcs { .. } => "Gcs",
            Self::Azure { .. } => "Azure",
        };
        f.debug_struct(name)
            .field("bucket", &self.bucket())
            .finish_non_exhaustive()
    }
}

// The signature is serde's.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_false(value: &bool) -> bool {
    !value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        let text =
            r#"{"s3":{"bucket":"b","access_key_id":"an-id","secret_access_key":"a-secret"}}"#;
        let settings: StoreSettings = serde_json::from_str(text).unwrap();
        let shown = format!("{settings:?}");
        assert!(shown.contains("\"b\""), "{shown}");
        assert!(
            !shown.contains("an-id") && !shown.contains("a-secret"),
            "{shown}"
        );
        assert_eq!(serde_json::to_string(&settings).unwrap(), text);
    }
}
