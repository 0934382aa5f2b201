//! Carries out what decisions ask for the content of workspaces.

use futures::future::BoxFuture;

use crate::action::Action;
use crate::cluster::reconcile::Steps;
use crate::error::Error;
use crate::workspaces::content::step::Step;

/// The backends of the content.
#[derive(Debug)]
pub(in crate::daemon) struct Backends;

impl Steps<Step> for Backends {
    fn carry_out(&self, step: Step) -> BoxFuture<'static, Result<Vec<Action>, Error>> {
        match step {}
    }
}
