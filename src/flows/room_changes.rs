//! What follows from a change of a room, whoever has made it: a user of ours, or one of another server.
//!
//! Whoever goes types no more. Where guests may not be any more, ours leave: that somebody must look is noted in the commit of
//! the event itself (by [`super::new_state`], or by the inbox), so that a server which stops in between looks at its next start.

use ruma::{ServerName, UserId};
use tokio::sync::mpsc;

use super::guest_access;
use crate::{
    app::App,
    ephemeral::typing::Typing,
    graph::{Delivery, Membership, RoomNo, log::Touch},
    rooms::{content, guest_access as guests},
};

/// Rooms in which guests are to be looked for; what goes beyond is looked for at the next start.
const MOST_ROOMS: usize = 1_000;

/// Follows all changes from now on.
pub fn follow(app: &App) {
    let (typing, own, (expelling, mut rooms)) =
        (app.typing.clone(), app.server_name.clone(), mpsc::channel(MOST_ROOMS));
    app.store.on_published(move |published| {
        let touches = published.touches.iter().filter_map(|touch| touch.downcast_ref::<Touch>());
        for delivery in touches.filter_map(|touch| touch.delivery.as_deref()) {
            changed((&typing, &own), &expelling, delivery);
        }
    });
    let follower = app.clone();
    app.tasks.spawn("guests of changed rooms", async move {
        loop {
            tokio::select! {
                Some(room) = rooms.recv() => guest_access::start(&follower, room),
                () = follower.shutdown.wait() => return,
            }
        }
    });
}

fn changed((typing, own): (&Typing, &ServerName), expelling: &mpsc::Sender<RoomNo>, delivery: &Delivery) {
    let Some(change) = &delivery.change else { return };
    match change.key.kind.as_str() {
        "m.room.member" => {
            let membership = content::text(delivery.event.content(), "membership");
            let is_in = membership.as_deref().and_then(Membership::parse) == Some(Membership::Join);
            if let (false, Ok(user_id)) = (is_in, UserId::parse(&change.key.state_key)) {
                typing.stop(delivery.room, &user_id);
            }
        }
        // After our own users' events the flow that sent them looks.
        guests::GUEST_ACCESS
            if delivery.event.sender.server_name() != own && !guests::is_open(delivery.event.content()) =>
        {
            // Full: it is noted, and looked for at the next start.
            let _ = expelling.try_send(delivery.room);
        }
        _ => {}
    }
}
