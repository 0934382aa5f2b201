//! The cases under testdata/decide: every row of the lifecycle and of the timeouts, and every step of a recreation.

use crate::golden;
use crate::workspaces::case::{self, Case};

#[test]
fn decisions_are_as_recorded() {
    golden::check_whole("decide", |input| {
        let case = Case::read(input).unwrap();
        let group = case.group().unwrap();
        let decision = case.decide_on(&group);
        let answer = case::pass(group.phase(), &decision);
        (case::outcome(&decision).to_owned(), answer)
    });
}
