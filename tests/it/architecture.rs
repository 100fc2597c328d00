//! The walls of the house: what `docs/architecture.md` and `docs/missing-endpoints.md` say is so, in the sources.

mod endpoints;
mod layers;
mod libraries;
mod sizes;
mod sources;
