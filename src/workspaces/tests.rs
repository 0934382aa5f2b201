//! Tests of the fold and the lifecycle: cases as files, and properties over mutated pods and whole lives.

mod case;
mod deadlines;
mod decide;
mod edited;
mod life;
mod mutate;
mod spoilt;
mod status;
