//! A state change in a room whose state has many entries.

use serde_json::json;
use std::time::Duration;

use super::Context;
use crate::{
    Failure,
    measure::{Limit, Row, closed_loops},
    population::User,
};

const KIND: &str = "org.example.load";

/// Fills a room's state, then changes single entries of it.
pub(super) async fn change_in_large(context: &Context<'_>) -> Result<Vec<Row>, Failure> {
    let entries = u64::try_from(context.args.state_entries)?;
    let mut owner = context.population.user().await?;
    let room_id = owner.create_room(&json!({ "preset": "private_chat" })).await?;
    let mut writers = Vec::new();
    for _ in 0..16 {
        let connection = owner.connection.another().await?;
        let user = User { id: owner.id.clone(), connection };
        writers.push(Writer { user, room_id: room_id.clone(), round: "filling" });
    }
    // The filling itself: bounded by the count, and by ten minutes.
    let filling = Limit { longest: Duration::from_secs(600), operations: entries };
    let (filled, mut writers) = closed_loops("state_fill", context.probe, writers, filling, set).await?;
    if filled.operations < entries {
        return Err(format!("only {} of {entries} entries within ten minutes", filled.operations).into());
    }
    writers.truncate(1);
    for writer in &mut writers {
        writer.round = "changing";
    }
    let (changed, _) = closed_loops("state_large", context.probe, writers, context.limit(2_000), set).await?;
    context.population.done([owner]).await;
    Ok(vec![
        filled.noting("16 writers filling the state of one room"),
        changed.noting(format!("1 writer, a state of {entries} entries")),
    ])
}

struct Writer {
    user: User,
    room_id: String,
    round: &'static str,
}

async fn set(mut writer: Writer, number: u64) -> Result<Writer, Failure> {
    // Never the same content twice under a key: a server may answer an unchanged state with the event that it has.
    let body = json!({ "number": number, "at": std::process::id(), "by": writer.user.id, "round": writer.round });
    let fresh = json!({ "value": body });
    writer.user.set_state(&writer.room_id, KIND, &format!("entry {number}"), &fresh).await?;
    Ok(writer)
}
