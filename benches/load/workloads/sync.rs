//! A user of many rooms syncs: for the first time, with nothing new, with one new event.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Context;
use crate::{
    Failure,
    measure::{Limit, Row, closed_loops, row},
    population::User,
    probe::Usage,
};

/// Messages in each room before the user comes.
const MESSAGES: usize = 10;

/// Initial and incremental syncs of a user of many rooms.
pub(super) async fn many_rooms(context: &Context<'_>) -> Result<Vec<Row>, Failure> {
    let mut host = context.population.newcomer().await?;
    let mut guest = context.population.newcomer().await?;
    let mut room_ids = Vec::new();
    for number in 0..context.args.rooms {
        let options = json!({ "preset": "public_chat", "name": format!("Room {number}") });
        let room_id = host.create_room(&options).await?;
        for _ in 0..MESSAGES {
            host.say(&room_id, &context.transaction()).await?;
        }
        guest.join(&room_id).await?;
        room_ids.push(room_id);
    }
    let first = room_ids.first().ok_or("no rooms")?.clone();
    let (since, body) = guest.sync(None, 0).await?;
    let (initial, guest) = initial(context, guest, body.len()).await?;
    let (idle, mut guest) = nothing_new(context, guest, since.clone()).await?;
    let (_, nothing) = guest.sync(Some(&since), 0).await?;
    let news = one_new(context, &mut host, &mut guest, &first, since).await?;
    Ok(vec![initial, idle.noting(format!("{} rooms, nothing new, {} B", context.args.rooms, nothing.len())), news])
}

async fn initial(context: &Context<'_>, guest: User, size: usize) -> Result<(Row, User), Failure> {
    let limit = Limit { operations: 200, ..context.limit(200) };
    let (row, mut guests) =
        closed_loops("sync_initial", context.probe, vec![guest], limit, async |mut guest: User, _| {
            guest.sync(None, 0).await?;
            Ok(guest)
        })
        .await?;
    let guest = guests.pop().ok_or("the guest is lost")?;
    Ok((row.noting(format!("{} rooms, {} kB a reply", context.args.rooms, size / 1000)), guest))
}

async fn nothing_new(context: &Context<'_>, guest: User, since: String) -> Result<(Row, User), Failure> {
    let limit = context.limit(20_000);
    let (row, mut guests) = closed_loops(
        "sync_idle",
        context.probe,
        vec![(guest, since)],
        limit,
        async |(mut guest, since): (User, String), _| {
            let (since, _) = guest.sync(Some(&since), 0).await?;
            Ok((guest, since))
        },
    )
    .await?;
    let (guest, _) = guests.pop().ok_or("the guest is lost")?;
    Ok((row, guest))
}

/// Each time one event is sent (not measured), then one sync fetches it.
async fn one_new(
    context: &Context<'_>,
    host: &mut User,
    guest: &mut User,
    room_id: &str,
    since: String,
) -> Result<Row, Failure> {
    let (mut since, _) = guest.sync(Some(&since), 0).await?;
    let mut latencies = Vec::new();
    let (mut used, mut elapsed) = (Usage::default(), Duration::ZERO);
    let start = Instant::now();
    while latencies.len() < 1_000 && start.elapsed() < context.args.longest() {
        let transaction = context.transaction();
        host.say(room_id, &transaction).await?;
        let before = context.probe.usage();
        let begun = Instant::now();
        let (next, body) = guest.sync(Some(&since), 0).await?;
        let latency = begun.elapsed();
        used = used.plus(context.probe.usage().minus(before));
        elapsed = elapsed.saturating_add(latency);
        latencies.push(latency);
        if !contains(&body, transaction.as_bytes()) {
            return Err("an incremental sync lacks the event that was sent before it".into());
        }
        since = next;
    }
    let measured = row("sync_news", elapsed, used, latencies);
    Ok(measured.noting(format!("{} rooms, one new event", context.args.rooms)))
}

/// Whether `needle` is in `haystack`.
pub(super) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
