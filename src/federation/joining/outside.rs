//! Leaving and knocking through another server: for rooms that this one is not in.

use ruma::{
    OwnedRoomId, OwnedUserId, RoomVersionId, ServerName,
    api::federation::membership::{
        RawStrippedState, create_knock_event::v1 as send_knock, create_leave_event::v2 as send_leave,
        prepare_knock_event::v1 as make_knock, prepare_leave_event::v1 as make_leave,
    },
    canonical_json::CanonicalJsonObject,
};
use serde_json::value::{RawValue, to_raw_value};

use super::{HandshakeError, Handshakes, join::raw, stripped, template::Wish, versions};
use crate::{
    event::{Pdu, Rules, Template, version},
    federation::Bounds,
    graph::{
        Membership, SendError,
        outside::{Outside, Standing},
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
        let template = Template {
            room_id: Some(change.room_id.clone()),
            event_id: None,
            sender: change.user_id.clone(),
            kind: "m.room.member".to_owned(),
            state_key: Some(change.user_id.to_string()),
            content: change.content.clone(),
            redacts: None,
            origin_server_ts: 0,
            // Nobody else ever sees it: where it stands in the room matters to nobody.
            prev_events: vec![left.event_id().to_owned().into()],
            auth_events: Vec::new(),
            depth: 1,
        };
        let version = left.room_version.clone();
        let ours = self.0.graph.sign(template, &version)?;
        let own = self.0.graph.server_name().to_owned();
        self.stand(change, Membership::Leave, (&ours, version), Vec::new(), &own).await
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
        let standing = Standing { user_id: change.user_id.clone(), membership, outside, instead_of: None };
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
