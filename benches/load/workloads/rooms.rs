//! Making rooms, and joining and leaving a large one.

use serde_json::json;

use super::Context;
use crate::{
    Failure,
    measure::{Row, closed_loops},
    population::User,
};

/// createRoom of a private chat.
pub(super) async fn create(context: &Context<'_>) -> Result<Vec<Row>, Failure> {
    let users = context.population.users(4).await?;
    let (row, users) = closed_loops("create_room", context.probe, users, context.limit(2_000), create_one).await?;
    context.population.done(users).await;
    Ok(vec![row.noting("4 users, preset private_chat")])
}

async fn create_one(mut user: User, _number: u64) -> Result<User, Failure> {
    user.create_room(&json!({ "preset": "private_chat", "name": "A room" })).await?;
    Ok(user)
}

/// Joins of a large room (and, since every member can join but once, leaves of it).
pub(super) async fn join_large(context: &Context<'_>) -> Result<Vec<Row>, Failure> {
    const ACTIVE: usize = 16;
    let mut users = context.population.users(context.args.members.saturating_add(ACTIVE)).await?;
    let active = users.split_off(users.len().saturating_sub(ACTIVE));
    let mut owner = users.pop().ok_or("no members")?;
    let room_id = owner.create_room(&json!({ "preset": "public_chat" })).await?;
    for user in &mut users {
        user.join(&room_id).await?;
    }
    users.push(owner);

    let members: Vec<_> =
        active.into_iter().map(|user| Member { user, room_id: room_id.clone(), joined: false }).collect();
    let (row, members) = closed_loops("join_large", context.probe, members, context.limit(5_000), come_or_go).await?;
    let note = format!("joins and leaves in turn, {ACTIVE} users, room of {} members", users.len());
    for Member { mut user, joined, .. } in members {
        if joined {
            user.leave(&room_id).await?;
        }
        context.population.done([user]).await;
    }
    context.population.done(users).await;
    Ok(vec![row.noting(note)])
}

struct Member {
    user: User,
    room_id: String,
    joined: bool,
}

async fn come_or_go(mut member: Member, _number: u64) -> Result<Member, Failure> {
    if member.joined {
        member.user.leave(&member.room_id).await?;
    } else {
        member.user.join(&member.room_id).await?;
    }
    member.joined = !member.joined;
    Ok(member)
}
