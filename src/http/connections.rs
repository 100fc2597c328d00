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

use crate::base::address::subscriber;

/// The connections of a server. Cheap to clone.
#[derive(Clone, Default)]
pub struct Connections(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    next: u64,
    open: HashMap<u64, Connection>,
    /// By [`subscriber`], as limits count too.
    of_address: HashMap<String, usize>,
}

struct Connection {
    /// A second handle on the socket, to end it by.
    socket: Socket,
    address: String,
    /// Requests that are being answered.
    busy: usize,
    idle_since: Instant,
    /// Its last request was refused before it was read: nothing sensible can follow.
    is_over: bool,
}

/// How long a connection that is over stays open, so that its peer can read why.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// An open connection: counted until this is dropped.
pub struct Ticket {
    all: Connections,
    number: u64,
}

/// A request that is being answered.
pub struct Busy {
    all: Connections,
    number: u64,
}

impl Connections {
    /// Counts a connection. `None`, and its end, when `address` has `most` already or the system has no more handles.
    pub fn admit(&self, socket: &SockRef<'_>, address: IpAddr, most: usize) -> Option<Ticket> {
        let (address, mut state) = (subscriber(address), self.0.lock());
        let open = state.of_address.get(&address).copied().unwrap_or(0);
        let handle = if open < most { socket.try_clone().ok() } else { None };
        let Some(handle) = handle else {
            // It may be gone already.
            let _ = socket.shutdown(Shutdown::Both);
            return None;
        };
        state.of_address.insert(address.clone(), open.saturating_add(1));
        let number = state.next;
        state.next = state.next.wrapping_add(1);
        state.open.insert(
            number,
            Connection { socket: handle, address, busy: 0, idle_since: Instant::now(), is_over: false },
        );
        Some(Ticket { all: self.clone(), number })
    }

    /// Ends connections that had no whole request for `longest`, and those that are over.
    pub fn end_idle(&self, longest: Duration) {
        for connection in self.0.lock().open.values() {
            let longest = if connection.is_over { LAST_WORDS } else { longest };
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
    pub fn busy(&self) -> Busy {
        if let Some(connection) = self.all.0.lock().open.get_mut(&self.number) {
            connection.busy = connection.busy.saturating_add(1);
        }
        Busy { all: self.all.clone(), number: self.number }
    }

    /// The connection ends soon after the answer that is under way.
    pub fn is_over(&self) {
        if let Some(connection) = self.all.0.lock().open.get_mut(&self.number) {
            connection.is_over = true;
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        if let Some(connection) = self.all.0.lock().open.get_mut(&self.number) {
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

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        net::{TcpListener, TcpStream},
    };

    use super::*;

    /// Both ends of a connection.
    fn connection() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    fn is_closed(client: &mut TcpStream) -> bool {
        client.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        client.read(&mut [0]).is_ok_and(|count| count == 0)
    }

    #[test]
    fn one_address_has_so_many_connections_and_no_more() {
        let connections = Connections::default();
        let address = IpAddr::from([192, 0, 2, 1]);
        let mut pairs: Vec<_> = (0..3).map(|_| connection()).collect();
        let mut tickets: Vec<_> =
            pairs.iter().map(|(_, server)| connections.admit(&SockRef::from(server), address, 2)).collect();
        assert_eq!(tickets.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(pairs.iter_mut().map(|(client, _)| is_closed(client)).collect::<Vec<_>>(), [false, false, true]);
        let (_client, server) = connection();
        assert!(connections.admit(&SockRef::from(&server), [192, 0, 2, 2].into(), 2).is_some(), "another address");
        tickets.remove(0);
        assert_eq!(connections.count(), 1, "what is closed is not counted");
        assert!(connections.admit(&SockRef::from(&server), address, 2).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn idle_connections_end_and_busy_ones_do_not() {
        let connections = Connections::default();
        let ((mut client, server), (mut other, busy)) = (connection(), connection());
        let _idle = connections.admit(&SockRef::from(&server), [127, 0, 0, 1].into(), 9).unwrap();
        let ticket = connections.admit(&SockRef::from(&busy), [127, 0, 0, 1].into(), 9).unwrap();
        let request = ticket.busy();
        assert!(connections.are_busy());
        tokio::time::advance(Duration::from_secs(61)).await;
        connections.end_idle(Duration::from_mins(1));
        assert!(is_closed(&mut client) && !is_closed(&mut other));
        drop(request);
        assert!(!connections.are_busy());
        tokio::time::advance(Duration::from_secs(59)).await;
        connections.end_idle(Duration::from_mins(1));
        assert!(!is_closed(&mut other), "idle since its last answer, not since it began");
        tokio::time::advance(Duration::from_secs(2)).await;
        connections.end_idle(Duration::from_mins(1));
        assert!(is_closed(&mut other));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_over_ends_soon() {
        let connections = Connections::default();
        let (mut client, server) = connection();
        let ticket = connections.admit(&SockRef::from(&server), [127, 0, 0, 1].into(), 9).unwrap();
        ticket.is_over();
        connections.end_idle(Duration::from_mins(1));
        assert!(!is_closed(&mut client), "its peer reads the answer");
        tokio::time::advance(LAST_WORDS * 2).await;
        connections.end_idle(Duration::from_mins(1));
        assert!(is_closed(&mut client));
    }
}
