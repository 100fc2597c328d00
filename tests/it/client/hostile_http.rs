//! What arrives at the HTTP edge from whoever can reach it, and what must happen: the right 4xx with a Matrix error, never a
//! 5xx, nothing half done. Beside the table-driven part that needs no sockets, [`sockets`] speaks to a bound port.

mod json;
mod limits;
mod paths;
mod sockets;
