//! The report that a person reads: one page that needs nothing beside itself.

mod canvas;
mod page;
mod plots;

pub(super) use page::page;
