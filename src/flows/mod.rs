//! Verbs that cross several of the modules below, one a file. Each is one commit, or says why not.

pub mod account;
pub mod create_room;
pub mod delete_device;
pub mod login;
pub mod logout;
pub mod refresh;
pub mod register;
pub mod set_profile;

#[cfg(test)]
mod tests;
