//! The image spec for registry facades: the one that the start recorded (docs/protocol.md#what-each-call-checks).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prost::Message;

use super::initializer;
use super::marks::{annotation, label};
use crate::error::Error;
use crate::objects::Meta;
use crate::proto::contentservice::WorkspaceInitializer;
use crate::proto::registryfacade::ImageSpec;
use crate::proto::wsman::WorkspaceStatus;

/// The recorded image spec of a pod. It never changes after the pod's creation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Recorded {
    /// None.
    #[default]
    Missing,
    /// The image needs the content of the workspace, and no backend makes layers of it.
    NeedsContent,
    /// It is in the status.
    InStatus,
    /// The spec of the annotation, if the status does not have all of it.
    Spec(Box<str>),
}

/// Returns the record of a pod with this status.
pub fn recorded(meta: &Meta, status: &WorkspaceStatus) -> Recorded {
    match meta.annotation(annotation::IMAGE_SPEC) {
        None => Recorded::Missing,
        Some(_) if has_content_layers(meta) => Recorded::NeedsContent,
        Some(text) if decode(text).is_ok_and(|spec| spec == from_status(status)) => {
            Recorded::InStatus
        }
        Some(text) => Recorded::Spec(text.into()),
    }
}

fn from_status(status: &WorkspaceStatus) -> ImageSpec {
    let spec = status.spec.clone().unwrap_or_default();
    let ide = spec.ide_image.unwrap_or_default();
    ImageSpec {
        base_ref: spec.workspace_image,
        ide_ref: ide.web_ref,
        supervisor_ref: ide.supervisor_ref,
        ide_layer_ref: spec.ide_image_layers,
        ..ImageSpec::default()
    }
}

fn decode(text: &str) -> Result<ImageSpec, String> {
    let bytes = STANDARD.decode(text).map_err(|error| error.to_string())?;
    ImageSpec::decode(bytes.as_slice()).map_err(|error| error.to_string())
}

/// Changes the spec in an annotation; `None` if it cannot be read.
pub fn edit(text: &str, edit: impl FnOnce(&mut ImageSpec)) -> Option<String> {
    let mut spec = decode(text).ok()?;
    edit(&mut spec);
    Some(STANDARD.encode(spec.encode_to_vec()))
}

/// Returns every image reference in a spec.
pub fn references(spec: &mut ImageSpec) -> impl Iterator<Item = &mut String> {
    let images = [
        &mut spec.base_ref,
        &mut spec.ide_ref,
        &mut spec.supervisor_ref,
    ];
    images.into_iter().chain(&mut spec.ide_layer_ref)
}

/// Backups of whole workspaces and PersistentVolumeClaims need content in the image. A spec that cannot be read counts
/// as content: an empty workspace must never replace a full one.
fn has_content_layers(meta: &Meta) -> bool {
    let flags = [label::FULL_WORKSPACE_BACKUP, label::PVC_FEATURE];
    if !flags.iter().any(|flag| meta.label(flag).is_some()) {
        return false;
    }
    let initializer = meta
        .annotation(annotation::CONTENT_INITIALIZER)
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| WorkspaceInitializer::decode(bytes.as_slice()).ok());
    initializer.is_none_or(|initializer| initializer::needs_content(&initializer))
}

impl Recorded {
    /// Returns the spec of the pod with this status.
    ///
    /// # Errors
    /// [`Error::Precondition`] if there is none or it needs content layers, [`Error::Internal`] if it cannot be
    /// read.
    pub fn spec(&self, status: &WorkspaceStatus) -> Result<ImageSpec, Error> {
        match self {
            Self::InStatus => Ok(from_status(status)),
            Self::Spec(text) => decode(text).map_err(|why| Error::Internal {
                why: format!("the recorded image spec is unreadable: {why}"),
            }),
            Self::Missing => Err(Error::Precondition {
                state: "NO_IMAGE_SPEC",
                why: "workspace has no image spec".to_owned(),
            }),
            Self::NeedsContent => Err(Error::Precondition {
                state: "NO_CONTENT_BACKEND",
                why: "the image of this workspace needs content layers, but this cluster has no content backend"
                    .to_owned(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::contentservice::workspace_initializer::Spec;
    use crate::proto::contentservice::{EmptyInitializer, GitInitializer};

    fn meta(flag: Option<&str>, initializer: Option<Spec>) -> Meta {
        let mut meta = Meta::default();
        let initializer = WorkspaceInitializer { spec: initializer };
        for (key, bytes) in [
            (annotation::IMAGE_SPEC, ImageSpec::default().encode_to_vec()),
            (annotation::CONTENT_INITIALIZER, initializer.encode_to_vec()),
        ] {
            let text = STANDARD.encode(bytes);
            meta.annotations.insert(key.to_owned(), text);
        }
        let flag = flag.map(|flag| (flag.to_owned(), "true".to_owned()));
        meta.labels.extend(flag);
        meta
    }

    #[test]
    fn an_image_that_needs_content_is_not_returned_without_it() {
        let git = || Some(Spec::Git(GitInitializer::default()));
        let status = WorkspaceStatus::default();
        let empty = Some(Spec::Empty(EmptyInitializer {}));
        assert!(recorded(&meta(None, git()), &status).spec(&status).is_ok());
        for flag in [label::FULL_WORKSPACE_BACKUP, label::PVC_FEATURE] {
            assert_eq!(
                recorded(&meta(Some(flag), git()), &status),
                Recorded::NeedsContent
            );
            assert!(
                recorded(&meta(Some(flag), empty.clone()), &status)
                    .spec(&status)
                    .is_ok()
            );
            // Too long for the annotation, it is in the Secret.
            let mut elsewhere = meta(Some(flag), empty.clone());
            elsewhere
                .annotations
                .remove(annotation::CONTENT_INITIALIZER);
            assert_eq!(recorded(&elsewhere, &status), Recorded::NeedsContent);
        }
        assert_eq!(recorded(&Meta::default(), &status), Recorded::Missing);
    }

    #[test]
    fn what_the_status_does_not_have_is_kept() {
        use crate::proto::registryfacade::ContentLayer;
        use crate::proto::wsman::WorkspaceSpec;
        let status = WorkspaceStatus {
            spec: Some(WorkspaceSpec {
                workspace_image: "base".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        };
        let plain = ImageSpec {
            base_ref: "base".to_owned(),
            ..Default::default()
        };
        let layered = ImageSpec {
            content_layer: vec![ContentLayer::default()],
            ..plain.clone()
        };
        for (spec, in_status) in [(plain, true), (layered, false)] {
            let mut meta = Meta::default();
            let text = STANDARD.encode(spec.encode_to_vec());
            meta.annotations
                .insert(annotation::IMAGE_SPEC.to_owned(), text);
            let recorded = recorded(&meta, &status);
            assert_eq!(recorded == Recorded::InStatus, in_status);
            assert_eq!(recorded.spec(&status).unwrap(), spec);
        }
        let mut broken = Meta::default();
        broken
            .annotations
            .insert(annotation::IMAGE_SPEC.to_owned(), "?".to_owned());
        assert!(recorded(&broken, &status).spec(&status).is_err());
    }
}
