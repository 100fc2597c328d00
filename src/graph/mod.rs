//! The write side of rooms: the event graph, its state, its two orders, its log.
//!
//! [`Graph`] is the handle: it creates rooms, sends and receives. [`Reader`] reads them, over one snapshot. What is stored
//! stands in [`keys`], how states are kept in [`state`], how events become commits in `write`.

mod adoption;
mod bytes;
pub mod cache;
pub mod event_row;
pub mod follower;
pub mod fsck;
#[cfg(test)]
mod golden;
mod handle;
pub mod head;
pub mod keys;
pub mod log;
mod maintenance;
pub mod outside;
mod proposal;
pub mod read;
pub mod rows;
pub mod state;
pub mod types;
mod write;

pub use self::{
    adoption::{AdoptError, Adoption},
    event_row::{EventMeta, LocalEcho, StoredEvent},
    handle::{Graph, Settings},
    head::Head,
    log::{Delivery, Touch},
    maintenance::MaintenanceError,
    proposal::{CreateError, Created, Needs, Placed, Proposal, Receipt, Rider, SendError, Verdict},
    read::{Changed, Direction, Event, MemberPage, Place, Reader, ServerPage},
    rows::{EventAt, Gap, Logged, Member, RoomServer, StateKey, UserRoom},
    types::{Arrival, Membership, RoomNo, Root, Seq, Slot, Status, Tie},
    write::forget,
};
