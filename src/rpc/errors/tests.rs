//! How callers see the API server's errors: a case per meaning of each code, under testdata/answers.

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::*;
use crate::cluster::{errors, transport};
use crate::golden;

#[test]
fn every_answer_of_the_api_server_has_its_own_meaning() {
    golden::check("answers", |mut case| {
        let code = u16::try_from(case.take("code").as_u64().unwrap()).unwrap();
        let headers = case.take("headers");
        let headers = headers.as_object().unwrap().iter().map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (
                name,
                HeaderValue::from_str(value.as_str().unwrap()).unwrap(),
            )
        });
        let headers: HeaderMap = headers.collect();
        let body = match case.take("body") {
            Value::String(text) => text,
            status => status.to_string(),
        };
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        let answer = transport::status(code, &headers, body.as_bytes(), now);
        let answer = kube::Error::Api(Box::new(answer));
        let cause = errors::cause(&answer);
        let failure = errors::of(&answer, "creating pod ws-a");
        let passing = failure.is_passing();
        let status = status(failure);
        let info = status.get_details_error_info().unwrap();
        let pause = status
            .get_details_retry_info()
            .and_then(|info| info.retry_delay);
        let fields = status
            .get_details_bad_request()
            .map(|bad| bad.field_violations);
        let fields: Vec<_> = fields.iter().flatten().map(|field| &field.field).collect();
        let mut limits: Vec<_> = info.metadata.into_iter().collect();
        limits.sort();
        let golden = json!({
            "retry": format!("{:?}", errors::retry(&answer)),
            "outdated": errors::is_outdated(&answer),
            "passing": passing,
            "code": format!("{:?}", status.code()),
            "reason": info.reason,
            "metadata": limits,
            "fields": fields,
            "retry_after": pause.map(|pause| pause.as_secs()),
            "message": status.message(),
        });
        (format!("{cause:?}"), golden)
    });
}
