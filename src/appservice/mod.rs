//! Application services (bridges, bots): who is registered here, and what is theirs.
//!
//! Pure: what a registration says, and which users, aliases and rooms it covers. Who asks as an application service is made
//! out in `http`; what they may do more than others is in the flows.

mod namespace;
mod registration;
mod registry;

pub use self::{
    namespace::{Namespace, Namespaces},
    registration::{Registration, RegistrationError},
    registry::{Appservices, Registry},
};
