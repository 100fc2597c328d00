//! The cheapest endpoint: what any request costs on this server and this machine.

use bytes::Bytes;
use http::Method;

use super::Context;
use crate::{Failure, client::Connection, measure::Row, measure::closed_loops};

/// GET /versions by one client, and by as many as there are senders.
pub(super) async fn versions(context: &Context<'_>) -> Result<Vec<Row>, Failure> {
    let mut rows = Vec::new();
    for (name, clients) in [("versions ×1", 1), ("versions", context.args.senders)] {
        let mut connections = Vec::new();
        for _ in 0..clients {
            connections.push(context.population.stranger().await?);
        }
        let (row, _) = closed_loops(name, context.probe, connections, context.limit(50_000), ask).await?;
        rows.push(row.noting(format!("the yardstick, {clients} clients")));
    }
    Ok(rows)
}

async fn ask(mut connection: Connection, _number: u64) -> Result<Connection, Failure> {
    connection.expect(Method::GET, "/_matrix/client/versions", Bytes::new()).await?;
    Ok(connection)
}
