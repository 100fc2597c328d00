//! Verbs that cross several of the modules below, one a file. Each is one commit, or says why not.

pub mod account;
pub mod appservice;
mod carry_over;
pub mod create_room;
pub mod delete_device;
pub mod directory;
mod elsewhere;
pub mod guest_access;
pub mod history;
pub mod invite;
mod invitee;
pub mod join;
pub mod login;
pub mod logout;
pub mod membership;
pub mod new_state;
mod outside;
pub mod receipts;
pub mod refresh;
pub mod register;
pub mod room_changes;
pub mod room_error;
pub mod send;
pub mod set_profile;
pub mod set_state;
pub mod tell_rooms;
pub mod upgrade;

#[cfg(test)]
mod tests;
