//! One request to an API server, and its answer as JSON.

use http_body_util::BodyExt as _;
use kube::client::Body;
use serde_json::{Value, json};

const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";

pub(super) async fn request(
    client: &kube::Client,
    method: &str,
    path: &str,
    media: &str,
    body: Value,
) -> (u16, Value) {
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    send(client, method, path, media, body).await
}

pub(super) async fn send(
    client: &kube::Client,
    method: &str,
    path: &str,
    media: &str,
    body: String,
) -> (u16, Value) {
    let media = if media.is_empty() {
        "application/json"
    } else {
        media
    };
    exchange(client, (method, "application/json"), path, media, body).await
}

/// The columns of a table as name, type and priority, and its rows without what is not shown.
pub(super) async fn table(client: &kube::Client, path: &str) -> (u16, Value) {
    let (code, answer) = exchange(client, ("GET", TABLE), path, "", String::new()).await;
    let list = |field: &str| answer[field].as_array().cloned().unwrap_or_default();
    let columns = list("columnDefinitions");
    let columns = columns
        .iter()
        .map(|one| json!([one["name"], one["type"], one["priority"]]));
    let rows = list("rows");
    let rows = rows
        .iter()
        .map(|row| json!({"cells": row["cells"], "kind": row["object"]["kind"]}));
    let (columns, rows): (Value, Value) = (columns.collect(), rows.collect());
    (code, json!({"columns": columns, "rows": rows}))
}

async fn exchange(
    client: &kube::Client,
    (method, accept): (&str, &str),
    path: &str,
    media: &str,
    body: String,
) -> (u16, Value) {
    let request = http::Request::builder()
        .method(method)
        .uri(path)
        .header("content-type", media);
    let request = request
        .header("accept", accept)
        .body(Body::from(body.into_bytes()))
        .expect("a request");
    let response = client
        .send(request)
        .await
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
    let code = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
        .to_bytes();
    let text = || Value::from(String::from_utf8_lossy(&body).into_owned());
    (
        code,
        serde_json::from_slice(&body).unwrap_or_else(|_| text()),
    )
}
