//! Invites that are taken back, and knocks that are refused: events of rooms that this server is not in, and so the only
//! ones of such rooms that it listens to.

use ruma::{OwnedRoomId, OwnedUserId, ServerName};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Handshakes;
use crate::{
    event::{Pdu, version},
    graph::{
        Membership, SendError,
        outside::{By, Outside, Standing},
    },
    store::ReadError,
};

/// The fields that are looked at before anything else is.
#[derive(Deserialize)]
struct Member {
    room_id: OwnedRoomId,
    #[serde(rename = "type")]
    kind: String,
    sender: OwnedUserId,
    state_key: OwnedUserId,
    content: Content,
}

#[derive(Deserialize)]
struct Content {
    membership: String,
}

impl Handshakes {
    /// Hears of the events of a transaction those that end what a local user is to a room that this server is not in. Without
    /// the room nobody can say what its members may do there, so listened to are only whoever has invited the user, and the
    /// server through which they have knocked. What can't be read is nobody's loss.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn hear(&self, origin: &ServerName, transaction: &[u8]) -> Result<(), SendError> {
        #[derive(Deserialize)]
        struct Body<'a> {
            #[serde(borrow)]
            pdus: Vec<&'a RawValue>,
        }
        let Ok(body) = serde_json::from_slice::<Body<'_>>(transaction) else { return Ok(()) };
        for raw in body.pdus {
            let Ok(member) = serde_json::from_str::<Member>(raw.get()) else { continue };
            let membership = Membership::parse(&member.content.membership);
            let Some(membership @ (Membership::Leave | Membership::Ban)) = membership else { continue };
            let is_of_ours = self.0.graph.is_local(&member.state_key) && member.kind == "m.room.member";
            if is_of_ours && member.sender.server_name() == origin {
                self.take_back(origin, member, membership, raw).await?;
            }
        }
        Ok(())
    }

    async fn take_back(
        &self,
        origin: &ServerName,
        member: Member,
        membership: Membership,
        raw: &RawValue,
    ) -> Result<(), SendError> {
        let (room_id, user_id, server) = (member.room_id.clone(), member.state_key.clone(), origin.to_owned());
        let read = self.0.rooms.read(move |reader, view| {
            let Some(room) = reader.room_no(view, &room_id)? else { return Ok::<_, ReadError>(None) };
            reader.outside_by(view, &user_id, (room, &server))
        });
        let Some((standing, now)) = read.await? else { return Ok(()) };
        let may = match standing {
            Membership::Invite => now.pdu().is_some_and(|invite| invite.sender() == member.sender),
            Membership::Knock => true,
            _ => false,
        };
        let Some(rules) = version::rules(&now.room_version).filter(|_| may) else { return Ok(()) };
        let Ok(pdu) = Pdu::parse(raw.get().as_bytes(), rules) else { return Ok(()) };
        // One that was before the invite, or the knock, and comes late says nothing of it.
        if now.pdu().is_none_or(|now| pdu.depth() <= now.depth()) {
            return Ok(());
        }
        let Some(Ok(verified)) = self.keys().verify(vec![pdu], rules).await?.pop() else { return Ok(()) };
        let outside = Outside::new(verified.pdu(), now.room_version.clone(), Vec::new(), vec![origin.to_owned()]);
        let Some(outside) = outside else { return Ok(()) };
        let instead_of = Some(now.event_id().to_owned());
        let standing = Standing { user_id: member.state_key, membership, outside, by: By::Server, instead_of };
        self.0.graph.stand_outside(standing).await.map(drop)
    }
}
