//! The cases under testdata/decide: every row of the lifecycle and of the timeouts.

use super::case::Case;
use crate::golden;
use crate::workspaces::case;

#[test]
fn verdicts_are_as_recorded() {
    golden::check_whole("decide", |input| {
        let (status, verdict) = Case::read(input).pass();
        let answer = case::verdict(&status, &verdict);
        (case::outcome(&verdict).to_owned(), answer)
    });
}
