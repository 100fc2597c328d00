//! Sending messages: one sender, many in rooms of their own, many in one room.

use serde_json::json;

use super::Context;
use crate::{
    Failure,
    measure::{Limit, Row, closed_loops},
    population::User,
};

/// A sender and where they send.
struct Sender {
    user: User,
    room_id: String,
    prefix: String,
}

/// One sender: the latency of a send that waits for nobody.
pub(super) async fn one(context: &Context<'_>) -> Result<Vec<Row>, Failure> {
    let senders = in_own_rooms(context, 1).await?;
    measure(context, "send_one", senders, "1 sender").await
}

/// Each sender in a room of their own.
pub(super) async fn own_rooms(context: &Context<'_>) -> Result<Vec<Row>, Failure> {
    let senders = in_own_rooms(context, context.args.senders).await?;
    measure(context, "send_own", senders, &format!("{} senders, each in an own room", context.args.senders)).await
}

/// All senders in one room.
pub(super) async fn shared_room(context: &Context<'_>) -> Result<Vec<Row>, Failure> {
    let mut users = context.population.users(context.args.senders).await?;
    let mut owner = users.pop().ok_or("no senders")?;
    let room_id = owner.create_room(&json!({ "preset": "public_chat" })).await?;
    for user in &mut users {
        user.join(&room_id).await?;
    }
    users.push(owner);
    let senders = users.into_iter();
    let senders =
        senders.map(|user| Sender { user, room_id: room_id.clone(), prefix: context.transaction() }).collect();
    measure(context, "send_shared", senders, &format!("{} senders in one room", context.args.senders)).await
}

async fn in_own_rooms(context: &Context<'_>, count: usize) -> Result<Vec<Sender>, Failure> {
    let mut senders = Vec::new();
    for mut user in context.population.users(count).await? {
        let room_id = user.create_room(&json!({})).await?;
        senders.push(Sender { user, room_id, prefix: context.transaction() });
    }
    Ok(senders)
}

async fn measure(context: &Context<'_>, name: &str, senders: Vec<Sender>, note: &str) -> Result<Vec<Row>, Failure> {
    // What the first sends of a room find cold is not what is measured.
    let warm_up = Limit { operations: 200, ..context.limit(200) };
    let (_, senders) = closed_loops(name, context.probe, senders, warm_up, warm).await?;
    let (row, senders) = closed_loops(name, context.probe, senders, context.limit(100_000), send).await?;
    context.population.done(senders.into_iter().map(|sender| sender.user)).await;
    Ok(vec![row.noting(note)])
}

async fn warm(sender: Sender, number: u64) -> Result<Sender, Failure> {
    say(sender, format!("warm{number}")).await
}

async fn send(sender: Sender, number: u64) -> Result<Sender, Failure> {
    say(sender, number.to_string()).await
}

async fn say(mut sender: Sender, transaction: String) -> Result<Sender, Failure> {
    let transaction = format!("{}-{transaction}", sender.prefix);
    sender.user.say(&sender.room_id, &transaction).await?;
    Ok(sender)
}
