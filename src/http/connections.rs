//! The open connections of a server: how many there are, which are idle, and the end of those that stay so.
//!
//! The server library times the first request of a connection, and an idle connection as long as it is silent. What stays
//! open by a byte now and then is ended here.

use std::{
    collections::HashMap,
    fmt,
    net::{IpAddr, Shutdown},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use socket2::{SockRef, Socket};
use tokio::time::Instant;

/// The connections of a server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Connections(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Connection>,
    of_address: HashMap<IpAddr, usize>,
}

struct Connection {
    /// A second handle on the socket, to end it by.
    socket: Socket,
    address: IpAddr,
    /// Requests that are being answered.
    busy: usize,
    idle_since: Instant,
}

/// An open connection: counted until this is dropped.
pub struct Ticket {
    all: Connections,
    number: u64,
}

/// A request that is being answered.
pub struct Busy<'a>(&'a Ticket);

impl Connections {
    /// Counts a connection. `None`, and its end, when `address` has `most` already or the system has no more handles.
    pub fn admit(&self, socket: &SockRef<'_>, address: IpAddr, most: usize) -> Option<Ticket> {
        let mut state = self.0.lock();
        let open = state.of_address.get(&address).copied().unwrap_or(0);
        let handle = if open < most { socket.try_clone().ok() } else { None };
        let Some(handle) = handle else {
            // It may be gone already.
            let _ = socket.shutdown(Shutdown::Both);
            return None;
        };
        state.of_address.insert(address, open.saturating_add(1));
        let number = state.next;
        state.next = state.next.wrapping_add(1);
        state.open.insert(number, Connection { socket: handle, address, busy: 0, idle_since: Instant::now() });
        Some(Ticket { all: self.clone(), number })
    }

    /// Ends connections that had no whole request for `longest`.
    pub fn end_idle(&self, longest: Duration) {
        for connection in self.0.lock().open.values() {
            if connection.busy == 0 && connection.idle_since.elapsed() > longest {
                // It may be gone already.
                let _ = connection.socket.shutdown(Shutdown::Both);
            }
        }
    }

    /// How many are open.
    pub fn count(&self) -> usize {
        self.0.lock().open.len()
    }

    /// Whether requests are being answered.
    pub fn are_busy(&self) -> bool {
        self.0.lock().open.values().any(|connection| connection.busy > 0)
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connections({} open)", self.count())
    }
}

impl Ticket {
    /// The connection is not idle until the returned mark is dropped.
    pub fn busy(&self) -> Busy<'_> {
        if let Some(connection) = self.all.0.lock().open.get_mut(&self.number) {
            connection.busy = connection.busy.saturating_add(1);
        }
        Busy(self)
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.all.0.lock().open.get_mut(&self.0.number) {
            connection.busy = connection.busy.saturating_sub(1);
            connection.idle_since = Instant::now();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut state = self.all.0.lock();
        let Some(connection) = state.open.remove(&self.number) else { return };
        let left = state.of_address.get(&connection.address).copied().unwrap_or(0).saturating_sub(1);
        if left == 0 {
            state.of_address.remove(&connection.address);
        } else {
            state.of_address.insert(connection.address, left);
        }
    }
}
