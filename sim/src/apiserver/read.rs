//! Get, list and watch.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::{Value, json};

use super::faults::Faults;
use super::request::{Form, Query, Target};
use super::selectors::Selector;
use super::status::{Cause, Status};
use super::store::{Object, Store};
use super::table;
use super::watch::{Start, Watch};

/// Default duration of a watch; a real server picks between this and twice as much.
const WATCH_TIMEOUT: Duration = Duration::from_secs(1800);

/// One object.
pub(crate) fn get(
    store: &Store,
    target: &Target,
    query: &Query,
    form: Form,
) -> Result<Bytes, Status> {
    let asked = revision(query, "resourceVersion")?.unwrap_or(0);
    let (object, current) = store.with(|state| {
        (
            state.get(target.index, &target.key()).cloned(),
            state.revision(),
        )
    });
    if asked > current {
        return Err(too_large(asked, current));
    }
    let object = object.ok_or_else(|| Status::not_found(target.resource, &target.name))?;
    Ok(show(target, &object, form))
}

/// The object in the requested form.
pub(crate) fn show(target: &Target, object: &Object, form: Form) -> Bytes {
    match form {
        Form::Full => object.json.clone(),
        Form::Metadata => table::metadata(&object.value).to_string().into(),
        Form::Table(include) => {
            table::table(target.index, [&object.value], object.revision, include)
                .to_string()
                .into()
        }
    }
}

/// A page of the collection.
pub(crate) fn list(
    store: &Store,
    target: &Target,
    query: &Query,
    form: Form,
) -> Result<Bytes, Status> {
    let selector = Selector::parse(
        target.index,
        query.get("labelSelector"),
        query.get("fieldSelector"),
    )?;
    let limit = match query.number::<i64>("limit")? {
        Some(limit @ 1..) => usize::try_from(limit).unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    let asked = revision(query, "resourceVersion")?;
    let exact = check_match(query, asked)?;
    let token = match query.get("continue") {
        "" => None,
        token => Some(Token::decode(token)?),
    };
    if token.is_some() && asked.is_some_and(|revision| revision > 0) {
        return Err(Status::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let prefix = target.prefix();
    let page = |objects: &mut dyn Iterator<Item = (&String, &Arc<Object>)>| {
        let mut selected =
            objects.filter(|(_, object)| selector.matches(target.index, &object.value));
        let page: Vec<_> = selected
            .by_ref()
            .take(limit)
            .map(|(key, object)| (key.clone(), object.clone()))
            .collect();
        (page, selected.count())
    };
    let at = match (&token, exact) {
        (Some(token), _) if token.revision > 0 => Some(token.revision),
        (None, true) => asked,
        _ => None,
    };
    let (objects, left, current) = store.with(|state| {
        let current = state.revision();
        let newest = asked.unwrap_or(0).max(at.unwrap_or(0));
        if newest > current {
            return Err(too_large(newest, current));
        }
        let start = token.as_ref().map_or("", |token| token.start.as_str());
        match at {
            Some(at) if at < current => {
                let objects = state
                    .at(target.index, &prefix, at)
                    .map_err(|_| gone(token.as_ref()))?;
                let (page, left) = page(&mut objects.range(start.to_owned()..));
                Ok((page, left, at))
            }
            _ => {
                let (page, left) = page(&mut state.range(target.index, &prefix, start));
                Ok((page, left, current))
            }
        }
    })?;
    let mut metadata = json!({"resourceVersion": current.to_string()});
    if left > 0
        && let Some((last, _)) = objects.last()
    {
        // The next page starts at the first key after the last one.
        let next = Token {
            revision: current,
            start: format!("{last}\0"),
        };
        metadata["continue"] = next.encode().into();
        if selector.is_empty() {
            metadata["remainingItemCount"] = left.into();
        }
    }
    let objects: Vec<_> = objects.into_iter().map(|(_, object)| object).collect();
    Ok(encode(target, &objects, &metadata, form))
}

/// A watch of the collection, or of one object.
pub(crate) fn watch(
    store: &Store,
    faults: &Faults,
    target: &Target,
    query: &Query,
    form: Form,
) -> Result<Watch, Status> {
    let mut fields = query.get("fieldSelector").to_owned();
    if !target.name.is_empty() {
        fields = format!(
            "metadata.name={}{}{fields}",
            target.name,
            if fields.is_empty() { "" } else { "," }
        );
    }
    let selector = Selector::parse(target.index, query.get("labelSelector"), &fields)?;
    let asked =
        parse_revision(query.get("resourceVersion")).map_err(|why| Status::new(500, "", why))?;
    let initial = query.get("sendInitialEvents");
    let forbidden = |detail: &str| {
        let cause = Cause::forbidden("resourceVersionMatch", detail);
        Status::invalid("meta.k8s.io", "ListOptions", "", &[cause])
    };
    match (initial, query.get("resourceVersionMatch")) {
        ("", "") | ("true" | "false", "NotOlderThan") => {}
        ("", _) => {
            return Err(forbidden(
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        _ => {
            return Err(forbidden(
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            ));
        }
    }
    let bookmarks = query.is_set("allowWatchBookmarks");
    let current = store.revision();
    let start = match asked {
        _ if initial == "true" => Start::Now { mark: bookmarks },
        None | Some(0) if initial == "false" => Start::After(current),
        None | Some(0) => Start::Now { mark: false },
        Some(revision) if revision > current => return Err(too_large(revision, current)),
        Some(revision) => Start::After(revision),
    };
    let timeout = query
        .number::<u64>("timeoutSeconds")?
        .filter(|seconds| *seconds > 0);
    Ok(Watch {
        store: store.clone(),
        faults: faults.clone(),
        index: target.index,
        prefix: target.prefix(),
        selector,
        form,
        start,
        bookmarks,
        // A huge timeout must not overflow the clock.
        timeout: timeout.map_or(WATCH_TIMEOUT, |seconds| {
            Duration::from_secs(seconds.min(86_400))
        }),
    })
}

/// The continue token of a list: opaque to clients.
struct Token {
    /// The revision of the first page; -1 in the original means the current one, 0 here.
    revision: u64,
    start: String,
}

impl Token {
    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(
            json!({"v": "meta.k8s.io/v1", "rv": self.revision, "start": self.start}).to_string(),
        )
    }

    fn decode(text: &str) -> Result<Self, Status> {
        let bad = |why: &str| {
            Status::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let json = URL_SAFE_NO_PAD
            .decode(text)
            .map_err(|error| bad(&error.to_string()))?;
        let token: Value =
            serde_json::from_slice(&json).map_err(|error| bad(&error.to_string()))?;
        let (revision, start) = (token["rv"].as_u64(), token["start"].as_str());
        let (Some(revision), Some(start)) = (revision, start) else {
            return Err(bad("incorrect fields"));
        };
        Ok(Self {
            revision,
            start: start.into(),
        })
    }
}

fn encode(target: &Target, objects: &[Arc<Object>], metadata: &Value, form: Form) -> Bytes {
    let values = objects.iter().map(|object| &object.value);
    match form {
        Form::Full => {
            let head = json!({"kind": format!("{}List", target.resource.kind), "apiVersion": target.resource.api_version(), "metadata": metadata});
            let head = head.to_string();
            let size = objects
                .iter()
                .map(|object| object.json.len())
                .sum::<usize>();
            let mut body = BytesMut::with_capacity(head.len() + size + 16);
            body.put_slice(&head.as_bytes()[..head.len() - 1]);
            body.put_slice(b",\"items\":[");
            for (at, object) in objects.iter().enumerate() {
                body.put_slice(if at > 0 { b",{" } else { b"{" });
                body.put_slice(object.body());
            }
            body.put_slice(b"]}");
            body.freeze()
        }
        Form::Metadata => {
            let items: Vec<_> = values.map(table::metadata).collect();
            let list = json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items});
            list.to_string().into()
        }
        Form::Table(include) => {
            let mut rows = table::table(target.index, values, 0, include);
            rows["metadata"] = metadata.clone();
            rows.to_string().into()
        }
    }
}

/// Whether the list must be of exactly the requested revision.
fn check_match(query: &Query, asked: Option<u64>) -> Result<bool, Status> {
    let forbidden = |detail: &str| {
        let cause = Cause::forbidden("resourceVersionMatch", detail);
        Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[cause]))
    };
    match (query.get("resourceVersionMatch"), asked) {
        ("", Some(revision)) => {
            // For a paginated list the default is exact, except for 0: "anything will do".
            Ok(revision > 0 && query.number::<i64>("limit")?.is_some_and(|limit| limit > 0))
        }
        ("", None) => Ok(false),
        (_, None) => {
            forbidden("resourceVersionMatch is forbidden unless resourceVersion is provided")
        }
        (_, Some(_)) if !query.get("continue").is_empty() => {
            forbidden("resourceVersionMatch is forbidden when continue is provided")
        }
        ("NotOlderThan", _) => Ok(false),
        ("Exact", Some(0)) => {
            forbidden("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"")
        }
        ("Exact", _) => Ok(true),
        (other, _) => {
            let cause = Cause::unsupported(
                "resourceVersionMatch",
                other,
                &["Exact", "NotOlderThan", ""],
            );
            Err(Status::invalid("meta.k8s.io", "ListOptions", "", &[cause]))
        }
    }
}

fn revision(query: &Query, name: &str) -> Result<Option<u64>, Status> {
    parse_revision(query.get(name))
        .map_err(|why| Status::bad_request(format!("invalid resource version: {why}")))
}

fn parse_revision(text: &str) -> Result<Option<u64>, String> {
    match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            format!("resourceVersion: Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax")
        }),
    }
}

fn too_large(asked: u64, current: u64) -> Status {
    let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
    let causes =
        json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]);
    let details = Some(json!({"causes": causes}));
    Status {
        details,
        retry_after: Some(1),
        ..Status::new(504, "Timeout", message)
    }
}

fn gone(token: Option<&Token>) -> Status {
    let Some(token) = token else {
        return Status::expired("The resourceVersion for the provided list is too old.");
    };
    let message = "The provided continue parameter is too old to display a consistent list result. You can start a new \
                   list without the continue parameter, or use the continue token in this response to retrieve the \
                   remainder of the results. Continuing with the provided token results in an inconsistent list - \
                   objects that were created, modified, or deleted between the time the first chunk was returned and \
                   now may show up in the list.";
    let metadata = Token {
        revision: 0,
        start: token.start.clone(),
    }
    .encode();
    Status {
        continue_token: Some(metadata),
        ..Status::expired(message)
    }
}
