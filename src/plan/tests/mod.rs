//! The planner's table, row by row, and its promises over random trees.

mod model;
mod promises;
mod table;
