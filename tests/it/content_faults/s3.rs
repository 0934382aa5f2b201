//! A server of the S3 protocol over a directory, which can be full.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use s3s::{S3Error, S3ErrorCode, S3Result};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// The bucket, which is the last part of the directory.
pub(super) const BUCKET: &str = "store";

pub(super) struct S3 {
    endpoint: String,
    /// Whether it takes nothing more.
    pub(super) full: Arc<AtomicBool>,
    server: JoinHandle<()>,
}

impl S3 {
    /// Serves a directory.
    pub(super) async fn serve(bucket: &Path) -> Self {
        assert!(bucket.ends_with(BUCKET));
        std::fs::create_dir_all(bucket).unwrap();
        let files = s3s_fs::FileSystem::new(bucket.parent().unwrap()).unwrap();
        let full = Arc::new(AtomicBool::new(false));
        let mut service = S3ServiceBuilder::new(files);
        service.set_auth(SimpleAuth::from_single("key", "secret"));
        service.set_access(Quota(full.clone()));
        let service = service.build();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let service = service.clone();
                tokio::spawn(async move {
                    let http = Builder::new(TokioExecutor::new());
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self {
            endpoint,
            full,
            server,
        }
    }

    /// The block `content.storage.minio`.
    pub(super) fn settings(&self) -> Value {
        json!({ "endpoint": self.endpoint, "bucket": BUCKET, "accessKey": "key", "secretKey": "secret" })
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Refuses writes while it is exceeded, as object stores with quotas do.
struct Quota(Arc<AtomicBool>);

#[tonic::async_trait]
impl S3Access for Quota {
    async fn check(&self, context: &mut S3AccessContext<'_>) -> S3Result<()> {
        let writes = ["PUT", "POST"].contains(&context.method().as_str());
        if !writes || !self.0.load(Ordering::SeqCst) {
            return Ok(());
        }
        let mut refusal = S3Error::new(S3ErrorCode::Custom("QuotaExceeded".into()));
        refusal.set_status_code(http::StatusCode::FORBIDDEN);
        Err(refusal)
    }
}
