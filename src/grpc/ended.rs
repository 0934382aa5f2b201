//! Workspaces that ended lately: who asks for them finds them, everybody else is told when they ended and why.

use tonic::metadata::MetadataMap;

use super::workspaces::Workspaces;
use crate::error::{Error, FieldViolation};
use crate::index::ended::End;
use crate::proto::answers::EncodedStatus;
use crate::workspaces::ending;
use crate::workspaces::filter::Filter;

/// Whether a call asks for workspaces that ended, too.
///
/// # Errors
/// [`Error::Invalid`] for anything but `true` and `false`.
pub(super) fn are_included(metadata: &MetadataMap) -> Result<bool, Error> {
    match metadata.get(ending::METADATA).map(|value| value.as_bytes()) {
        None | Some(b"false") => Ok(false),
        Some(b"true") => Ok(true),
        Some(_) => {
            let why = "must be true or false";
            let field = ending::METADATA;
            Err(Error::Invalid {
                message: format!("invalid request: {field}: {why}"),
                violations: vec![FieldViolation::new(field, why)],
            })
        }
    }
}

impl Workspaces {
    /// Returns how a workspace ended, if that was lately and none of its id was started since.
    pub(super) fn end(&self, id: &str) -> Option<End> {
        self.hub
            .read_with_ended(|index, ended| match index.by_id(id) {
                Some(_) => None,
                None => ended.get(id).cloned(),
            })
    }

    /// Returns the error of a call for a workspace that is not there.
    pub(super) fn not_found(&self, id: &str) -> Error {
        let id = id.to_owned();
        match self.end(&id) {
            None => Error::NotFound { id },
            Some(end) => Error::Ended {
                id,
                at: end.at,
                why: ending::of_ended(&end.status.read()),
            },
        }
    }

    /// Returns every workspace that matches, and those that ended lately.
    pub(super) fn list_with_ended(&self, filter: &Filter) -> Vec<EncodedStatus> {
        self.hub.read_with_ended(|index, ended| {
            let gone = ended.iter().filter(|(id, _)| index.by_id(id).is_none());
            let gone = gone.map(|(_, end)| &end.status);
            let gone = gone.filter(|status| filter.matches(status));
            index.list(filter).chain(gone).cloned().collect()
        })
    }
}
