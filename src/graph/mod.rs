//! The write side of rooms: the event graph, its state, its two orders, its log.

mod bytes;
pub mod cache;
pub mod event_row;
pub mod head;
pub mod keys;
pub mod log;
pub mod read;
pub mod rows;
pub mod state;
pub mod types;

pub use self::{
    event_row::{EventMeta, LocalEcho, StoredEvent},
    head::Head,
    log::{Delivery, Touch},
    read::{Changed, Direction, Event, MemberPage, Place, Reader},
    rows::{EventAt, Gap, Logged, Member, RoomServer, StateKey, UserRoom},
    types::{Arrival, Membership, RoomNo, Root, Seq, Slot, Status, Tie},
};
