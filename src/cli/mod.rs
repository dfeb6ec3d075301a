//! The command line: what was typed, what it means, and the only place that prints.

pub mod ends;
