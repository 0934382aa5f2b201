//! ControlAdmission: who has access to a workspace.

use super::{Seen, is_ending};
use crate::action::{Action, Mark};
use crate::error::{Error, FieldViolation};
use crate::proto::wsman::{AdmissionLevel, ControlAdmissionRequest};
use crate::workspaces::marks::annotation;

#[derive(Debug, Clone)]
pub(super) struct Admission(AdmissionLevel);

pub(super) fn parse(request: &ControlAdmissionRequest) -> Result<Admission, Vec<FieldViolation>> {
    AdmissionLevel::try_from(request.level)
        .map(Admission)
        .map_err(|_| {
            let why = format!(
                "invalid admission level: value {} is out of range",
                request.level
            );
            vec![FieldViolation::new("level", why)]
        })
}

impl Admission {
    pub(super) fn actions(&self, seen: &Seen) -> Result<Vec<Action>, Error> {
        if is_ending(seen) {
            let why = "cannot control admission of stopping workspaces".to_owned();
            return Err(Error::Precondition {
                state: "STOPPING",
                why,
            });
        }
        let level = self.0.as_str_name().to_ascii_lowercase();
        if seen.marks.get(annotation::ADMISSION) == Some(&level) {
            return Ok(Vec::new());
        }
        let mark = Mark::put(annotation::ADMISSION, Some(level));
        Ok(vec![Action::Mark(seen.pod.clone(), mark)])
    }
}
