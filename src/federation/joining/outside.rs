//! Leaving and knocking through another server: for rooms that this one is not in.

use ruma::{
    OwnedEventId, OwnedRoomId, OwnedUserId, RoomVersionId, ServerName, UserId,
    api::federation::membership::{
        RawStrippedState, create_knock_event::v1 as send_knock, create_leave_event::v2 as send_leave,
        prepare_knock_event::v1 as make_knock, prepare_leave_event::v1 as make_leave,
    },
    canonical_json::{CanonicalJsonObject, CanonicalJsonValue},
};
use serde_json::value::{RawValue, to_raw_value};

use super::{HandshakeError, Handshakes, join::raw, stripped, template::Wish, versions};
use crate::{
    event::{Pdu, Rules, Template, version},
    federation::Bounds,
    graph::{
        Membership, SendError,
        outside::{By, Outside, Standing},
    },
};

/// A membership that a user of ours wants in a room that is elsewhere.
#[derive(Clone, Debug)]
pub struct Change {
    /// The room.
    pub room_id: OwnedRoomId,
    /// The user.
    pub user_id: OwnedUserId,
    /// What the event says.
    pub content: CanonicalJsonObject,
    /// The room's version, if it is known: nothing is signed for another one.
    pub room_version: Option<RoomVersionId>,
    /// The event that brought what the user is now, if only that is to be changed.
    pub instead_of: Option<OwnedEventId>,
}

impl Change {
    /// The version for which the event is signed, by what a server says of it.
    fn version(&self, said: Option<RoomVersionId>) -> Result<RoomVersionId, HandshakeError> {
        match (&self.room_version, said) {
            (Some(known), Some(said)) if *known != said => {
                Err(HandshakeError::Malformed(format!("the room is of version {known}, and is said to be of {said}")))
            }
            (Some(known), _) => Ok(known.clone()),
            // Server-server API, `/make_leave`: of a room whose version is not said it is 1 or 2, which are alike here.
            (None, said) => Ok(said.unwrap_or(RoomVersionId::V1)),
        }
    }
}

impl Handshakes {
    /// Leaves a room (declines an invite, takes back a knock) through a server that is in it.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn leave(&self, server: &ServerName, change: &Change) -> Result<(), HandshakeError> {
        let request = make_leave::Request::new(change.room_id.clone(), change.user_id.clone());
        let made = self.client().request(server, request, Bounds::USUAL).await?;
        let version = change.version(made.room_version)?;
        let ours = self.ours(server, change, Membership::Leave, (&made.event, &version))?;
        let request = send_leave::Request::new(change.room_id.clone(), ours.event_id().to_owned(), raw(&ours)?);
        self.client().request(server, request, Bounds::USUAL).await?;
        self.stand(change, Membership::Leave, (&ours, version), Vec::new(), server).await
    }

    /// Notes a leave of which no server in the room could be told: it is gone, or does not let the user go.
    ///
    /// # Errors
    /// When it can't be written.
    pub async fn leave_alone(&self, change: &Change, left: &Outside) -> Result<(), HandshakeError> {
        let ours = self.farewell(&change.user_id, left, change.content.clone())?;
        let own = self.0.graph.server_name().to_owned();
        self.stand(change, Membership::Leave, (&ours, left.room_version.clone()), Vec::new(), &own).await
    }

    /// Takes the oldest invite of a server out of the way of its newest: as if it had taken it back.
    pub(super) async fn make_room(&self, user_id: &UserId, oldest: Outside) -> Result<(), SendError> {
        let mut content = CanonicalJsonObject::new();
        content.insert("membership".to_owned(), CanonicalJsonValue::String("leave".to_owned()));
        let ours = self.farewell(user_id, &oldest, content)?;
        let outside = Outside::new(&ours, oldest.room_version.clone(), Vec::new(), oldest.via.clone());
        let Some(outside) = outside else { return Ok(()) };
        let (user_id, instead_of) = (user_id.to_owned(), Some(oldest.event_id().to_owned()));
        let standing = Standing { user_id, membership: Membership::Leave, outside, by: By::Server, instead_of };
        self.0.graph.stand_outside(standing).await.map(drop)
    }

    /// A leave that no other server sees.
    fn farewell(&self, user_id: &UserId, left: &Outside, content: CanonicalJsonObject) -> Result<Pdu, SendError> {
        let template = Template {
            room_id: Some(left.room_id.clone()),
            event_id: None,
            sender: user_id.to_owned(),
            kind: "m.room.member".to_owned(),
            state_key: Some(user_id.to_string()),
            content,
            redacts: None,
            origin_server_ts: 0,
            // Where it stands in the room matters to nobody.
            prev_events: vec![left.event_id().to_owned().into()],
            auth_events: Vec::new(),
            depth: 1,
        };
        self.0.graph.sign(template, &left.room_version)
    }

    /// Knocks on a room through a server that is in it.
    ///
    /// # Errors
    /// See [`HandshakeError`].
    pub async fn knock(&self, server: &ServerName, change: &Change) -> Result<(), HandshakeError> {
        let mut request = make_knock::Request::new(change.room_id.clone(), change.user_id.clone());
        request.ver = versions();
        let made = self.client().request(server, request, Bounds::USUAL).await?;
        let version = change.version(Some(made.room_version))?;
        let rules = rules(&version)?;
        let ours = self.ours(server, change, Membership::Knock, (&made.event, &version))?;
        let request = send_knock::Request::new(change.room_id.clone(), ours.event_id().to_owned(), raw(&ours)?);
        let answer = self.client().request(server, request, Bounds::USUAL).await?;
        let told: Vec<Box<RawValue>> = answer.knock_room_state.iter().filter_map(as_json).collect();
        let told = stripped::for_clients(&told, (&change.room_id, rules), &[]);
        self.stand(change, Membership::Knock, (&ours, version), told, server).await
    }

    fn ours(
        &self,
        server: &ServerName,
        change: &Change,
        membership: Membership,
        (offered, version): (&RawValue, &RoomVersionId),
    ) -> Result<Pdu, HandshakeError> {
        let (room_id, user_id, content) = (&*change.room_id, &*change.user_id, &change.content);
        let wish = Wish { room_id, user_id, membership, content };
        Ok(self.0.graph.sign(wish.template(offered, rules(version)?, server)?, version)?)
    }

    async fn stand(
        &self,
        change: &Change,
        membership: Membership,
        (ours, version): (&Pdu, RoomVersionId),
        told: Vec<Box<RawValue>>,
        server: &ServerName,
    ) -> Result<(), HandshakeError> {
        let outside = Outside::new(ours, version, told, vec![server.to_owned()]);
        let outside = outside.ok_or_else(|| HandshakeError::Malformed("the event can't be kept".to_owned()))?;
        let (user_id, instead_of) = (change.user_id.clone(), change.instead_of.clone());
        let standing = Standing { user_id, membership, outside, by: By::User, instead_of };
        // Whoever came into the room meanwhile is what its graph says.
        self.0.graph.stand_outside(standing).await.map(drop).map_err(SendError::into)
    }
}

fn rules(version: &RoomVersionId) -> Result<&'static Rules, HandshakeError> {
    version::rules(version).ok_or_else(|| HandshakeError::UnknownVersion(version.clone()))
}

fn as_json(told: &RawStrippedState) -> Option<Box<RawValue>> {
    to_raw_value(told).ok()
}
