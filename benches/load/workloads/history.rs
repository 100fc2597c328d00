//! Paging back through a room's history.

use std::sync::Arc;

use serde_json::{Value, json};

use super::Context;
use crate::{
    Failure,
    client::segment,
    measure::{Row, closed_loops},
    population::User,
};

/// Several readers page back through one room, each from its end, again and again.
pub(super) async fn page_back(context: &Context<'_>) -> Result<Vec<Row>, Failure> {
    const READERS: usize = 8;
    let mut owner = context.population.user().await?;
    let room_id = owner.create_room(&json!({ "preset": "public_chat" })).await?;
    for _ in 0..context.args.history {
        owner.say(&room_id, &context.transaction()).await?;
    }
    let path: Arc<str> = format!("/_matrix/client/v3/rooms/{}/messages?dir=b&limit=50", segment(&room_id)).into();
    let mut readers = Vec::new();
    for mut user in context.population.users(READERS).await? {
        user.join(&room_id).await?;
        readers.push(Reader { user, path: Arc::clone(&path), from: None });
    }
    let (row, readers) = closed_loops("page_back", context.probe, readers, context.limit(10_000), page).await?;
    context.population.done(readers.into_iter().map(|reader| reader.user)).await;
    context.population.done([owner]).await;
    Ok(vec![row.noting(format!("pages of 50, {READERS} readers, room of {} events", context.args.history))])
}

struct Reader {
    user: User,
    path: Arc<str>,
    from: Option<String>,
}

async fn page(mut reader: Reader, _number: u64) -> Result<Reader, Failure> {
    let path = match &reader.from {
        Some(from) => format!("{}&from={}", reader.path, segment(from)),
        None => reader.path.to_string(),
    };
    let page = reader.user.connection.get(&path).await?;
    reader.from = page.get("end").and_then(Value::as_str).map(str::to_owned);
    Ok(reader)
}
