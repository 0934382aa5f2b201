//! The target of an HTTP request: path, query and headers as one value.

use std::borrow::Cow;

use http::HeaderMap;
use http::header::ACCEPT;

use super::resources::{self, Index, Resource};
use super::status::Status;

/// A path under `/api` or `/apis` that leads to objects.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) index: Index,
    pub(crate) resource: &'static Resource,
    /// Empty for all namespaces, and for kinds without one.
    pub(crate) namespace: String,
    /// Empty for the collection.
    pub(crate) name: String,
    /// `status`, `binding`, ..., or empty.
    pub(crate) subresource: String,
    /// A path of the form `/api/v1/watch/...`.
    pub(crate) watch: bool,
}

impl Target {
    pub(crate) fn key(&self) -> String {
        self.resource.key(&self.namespace, &self.name)
    }

    /// What the keys of the collection start with.
    pub(crate) fn prefix(&self) -> String {
        if self.namespace.is_empty() {
            String::new()
        } else {
            format!("{}/", self.namespace)
        }
    }

    /// Parses the path; None if it has no served kind.
    pub(crate) fn parse(path: &str) -> Option<Self> {
        let mut parts: Vec<Cow<'_, str>> = Vec::new();
        for part in path.trim_matches('/').split('/') {
            parts.push(decode(part, false)?);
        }
        let mut parts = parts.into_iter();
        let group = match parts.next()?.as_ref() {
            "api" => String::new(),
            "apis" => parts.next()?.into_owned(),
            _ => return None,
        };
        if parts.next()? != Resource::VERSION {
            return None;
        }
        let mut parts: Vec<String> = parts.map(Cow::into_owned).collect();
        let watch = parts.first().is_some_and(|part| part == "watch");
        if watch {
            parts.remove(0);
        }
        let mut namespace = String::new();
        // `/namespaces/x/pods` is in a namespace; `/namespaces/x` and `/namespaces/x/status` are not.
        let nested = parts.len() > 2 && !matches!(parts[2].as_str(), "status" | "finalize");
        if parts.first().is_some_and(|part| part == "namespaces") && nested {
            namespace = parts[1].clone();
            parts.drain(..2);
        }
        let mut parts = parts.into_iter();
        let (index, resource) = resources::find(&group, &parts.next()?)?;
        let (name, subresource) = (
            parts.next().unwrap_or_default(),
            parts.next().unwrap_or_default(),
        );
        let misplaced = if resource.namespaced {
            namespace.is_empty() && !name.is_empty()
        } else {
            !namespace.is_empty()
        };
        if misplaced || parts.next().is_some() {
            return None;
        }
        Some(Self {
            index,
            resource,
            namespace,
            name,
            subresource,
            watch,
        })
    }
}

/// The query parameters, decoded. The first of a name counts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(text: &str) -> Self {
        let pairs = text
            .split('&')
            .filter(|pair| !pair.is_empty())
            .filter_map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Some((
                    decode(name, true)?.into_owned(),
                    decode(value, true)?.into_owned(),
                ))
            });
        Self(pairs.collect())
    }

    /// The parameter's value, empty if it is absent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }

    /// All values of a parameter that may be repeated.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let pairs = self.0.iter().filter(move |(key, _)| key == name);
        pairs.map(|(_, value)| value.as_str())
    }

    pub(crate) fn is_set(&self, name: &str) -> bool {
        matches!(self.get(name), "true" | "1" | "True" | "t")
    }

    pub(crate) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Status> {
        match self.get(name) {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| {
                Status::bad_request(format!(
                    "strconv.ParseInt: parsing {text:?}: invalid syntax"
                ))
            }),
        }
    }

    /// Whether the write is a dry run.
    pub(crate) fn dry_run(&self) -> Result<bool, Status> {
        let mut values = self
            .0
            .iter()
            .filter(|(key, _)| key == "dryRun")
            .map(|(_, value)| value.as_str());
        match values.next() {
            None => Ok(false),
            Some("All") => Ok(true),
            Some(other) => {
                let cause = super::status::Cause::unsupported("dryRun", other, &["All"]);
                Err(Status::invalid(
                    "meta.k8s.io",
                    "CreateOptions",
                    "",
                    &[cause],
                ))
            }
        }
    }
}

/// The requested form of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As they are.
    Full,
    /// Only their metadata.
    Metadata,
    /// Rows for `kubectl get`.
    Table(Include),
}

/// The object in a row of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    Nothing,
    /// The metadata of its object.
    Metadata,
    Object,
}

impl Form {
    /// The first media type of `Accept` that is supported.
    pub(crate) fn negotiate(headers: &HeaderMap, query: &Query) -> Result<Self, Status> {
        let accept = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect::<Vec<_>>();
        if accept.is_empty() {
            return Ok(Self::Full);
        }
        let mut ranges = accept.iter().flat_map(|value| value.split(','));
        let form = ranges.find_map(Self::of);
        match form.ok_or_else(Status::not_acceptable)? {
            Self::Table(_) => Ok(Self::Table(match query.get("includeObject") {
                "" | "Metadata" => Include::Metadata,
                "None" => Include::Nothing,
                "Object" => Include::Object,
                other => {
                    let why = format!("unrecognized includeObject value: {other:?}");
                    return Err(Status::bad_request(why));
                }
            })),
            form => Ok(form),
        }
    }

    fn of(range: &str) -> Option<Self> {
        let mut parts = range.split(';').map(str::trim);
        if !matches!(
            parts.next()?,
            "application/json" | "application/*" | "*/*" | ""
        ) {
            return None;
        }
        let parameters: Vec<_> = parts.filter_map(|part| part.split_once('=')).collect();
        let get = |name| {
            parameters
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        match (get("as"), get("v").unwrap_or(Resource::VERSION)) {
            (None, _) => Some(Self::Full),
            (Some("Table"), Resource::VERSION) => Some(Self::Table(Include::Metadata)),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Resource::VERSION) => {
                Some(Self::Metadata)
            }
            _ => None,
        }
    }
}

/// Percent-decoding; None for what is not UTF-8 or a cut escape.
fn decode(text: &str, plus_is_space: bool) -> Option<Cow<'_, str>> {
    if !text.contains(['%', '+']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            b'+' if plus_is_space => b' ',
            other => other,
        });
    }
    String::from_utf8(decoded).ok().map(Cow::Owned)
}
