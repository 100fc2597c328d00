//! The workloads, in the order in which they run.

mod fanout;
mod history;
mod rooms;
mod sends;
mod state;
mod sync;
mod yardstick;

use std::{future::Future, pin::Pin};

use crate::{
    Args, Failure,
    measure::{Limit, Row},
    population::Population,
    probe::Probe,
};

/// What a workload works with.
pub(crate) struct Context<'a> {
    pub(crate) args: &'a Args,
    pub(crate) population: &'a Population,
    pub(crate) probe: &'a Probe,
}

impl Context<'_> {
    /// The time that the arguments allow, and so many operations.
    fn limit(&self, operations: u64) -> Limit {
        Limit { longest: self.args.longest(), operations }
    }

    /// A transaction id that is new in this run.
    fn transaction(&self) -> String {
        format!("t{}-{}", std::process::id(), self.population.unique())
    }
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Failure>> + 'a>>;

/// A workload: makes what it needs, measures, and returns its lines.
pub(crate) type Workload = for<'a> fn(&'a Context<'a>) -> Running<'a>;

/// All of them, by name.
pub(crate) fn all() -> Vec<(&'static str, Workload)> {
    vec![
        ("versions", |context| Box::pin(yardstick::versions(context))),
        ("send_one", |context| Box::pin(sends::one(context))),
        ("send_own", |context| Box::pin(sends::own_rooms(context))),
        ("send_shared", |context| Box::pin(sends::shared_room(context))),
        ("create_room", |context| Box::pin(rooms::create(context))),
        ("join_large", |context| Box::pin(rooms::join_large(context))),
        ("state_large", |context| Box::pin(state::change_in_large(context))),
        ("sync_many", |context| Box::pin(sync::many_rooms(context))),
        ("page_back", |context| Box::pin(history::page_back(context))),
        ("fanout", |context| Box::pin(fanout::fanout(context))),
    ]
}
