//! One event to many clients that wait in /sync.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Context, sync::contains};
use crate::{
    Failure,
    measure::{Row, row},
    population::User,
    probe::Usage,
};

/// Sends into a room whose members all wait, with few and with many of them: the difference is what one more waiter costs.
pub(super) async fn fanout(context: &Context<'_>) -> Result<Vec<Row>, Failure> {
    let many = context.args.waiters.max(2);
    let few = many.div_ceil(10);
    let mut users = context.population.users(many.saturating_add(1)).await?;
    let mut owner = users.pop().ok_or("no sender")?;
    let room_id = owner.create_room(&json!({ "preset": "public_chat" })).await?;
    for user in &mut users {
        user.join(&room_id).await?;
    }
    let (small, small_sends) = measure(context, &mut owner, &users, few, &room_id).await?;
    let (large, large_sends) = measure(context, &mut owner, &users, many, &room_id).await?;
    context.population.done(users).await;
    context.population.done([owner]).await;
    let marginal = marginal((&small, small_sends), (&large, large_sends), many.saturating_sub(few));
    Ok(vec![small, large, marginal])
}

/// What one more waiter costs: the difference of the costs of a send, over the difference of the waiters.
fn marginal(small: (&Row, u32), large: (&Row, u32), more: usize) -> Row {
    let each = |(row, sends): (&Row, u32)| row.used.cpu.checked_div(sends).unwrap_or_default();
    let difference = each(large).saturating_sub(each(small));
    let operations = u64::try_from(more).unwrap_or(u64::MAX);
    let used = Usage { cpu: difference, written: 0 };
    let mut row = row("fanout +1", Duration::ZERO, used, Vec::new());
    row.operations = operations;
    row.noting("what one more waiting client costs for each event")
}

async fn measure(
    context: &Context<'_>,
    owner: &mut User,
    users: &[User],
    waiters: usize,
    room_id: &str,
) -> Result<(Row, u32), Failure> {
    let (expected, marker) = watch::channel(Arc::<str>::from("nothing yet"));
    let (arrived, mut arrivals) = mpsc::channel(waiters);
    let mut waiting = JoinSet::new();
    for user in users.iter().take(waiters) {
        let connection = user.connection.another().await?;
        let mut user = User { id: user.id.clone(), connection };
        let (since, _) = user.sync(None, 0).await?;
        waiting.spawn(wait(user, since, marker.clone(), arrived.clone()));
    }
    drop(arrived);

    let mut latencies = Vec::new();
    let mut sends: u32 = 0;
    let before = context.probe.usage();
    let start = Instant::now();
    while start.elapsed() < context.args.longest() && sends < 2_000 {
        // So that the clients wait again, rather than be on their way to it.
        sleep(Duration::from_millis(3)).await;
        let transaction = context.transaction();
        expected.send(transaction.as_str().into())?;
        let begun = Instant::now();
        owner.say(room_id, &transaction).await?;
        for _ in 0..waiters {
            let at: Instant = timeout(Duration::from_secs(30), arrivals.recv())
                .await
                .map_err(|_| "a waiting client did not get an event within 30 s")?
                .ok_or("the waiting clients failed")?;
            latencies.push(at.saturating_duration_since(begun));
        }
        sends = sends.saturating_add(1);
    }
    let used = context.probe.usage().minus(before);
    let row = row(&format!("fanout ×{waiters}"), start.elapsed(), used, latencies);
    waiting.abort_all();
    Ok((row.noting(format!("deliveries; {sends} sends to {waiters} waiting clients")), sends))
}

/// One client's sync loop: tells when each expected event arrived.
async fn wait(
    mut user: User,
    mut since: String,
    marker: watch::Receiver<Arc<str>>,
    arrived: mpsc::Sender<Instant>,
) -> Result<(), Failure> {
    loop {
        let (next, body) = user.sync(Some(&since), 30_000).await?;
        let at = Instant::now();
        since = next;
        let expected = Arc::clone(&marker.borrow());
        if contains(&body, expected.as_bytes()) {
            arrived.send(at).await?;
        }
    }
}
