//! The cases under testdata/decide: every row of the lifecycle and of the timeouts.

use super::case::Case;
use crate::golden;
use crate::workspaces::case;

#[test]
fn decisions_are_as_recorded() {
    golden::check_whole("decide", |input| {
        let (phase, decision) = Case::read(input).pass();
        let answer = case::pass(phase, &decision);
        (case::outcome(&decision).to_owned(), answer)
    });
}
