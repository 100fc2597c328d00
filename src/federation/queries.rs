//! What this server asks others for its users: profiles, aliases, published rooms (server-server API, "Querying for
//! information", "Public Room Directory").

use std::collections::BTreeMap;

use ruma::{
    OwnedRoomAliasId, OwnedRoomId, OwnedServerName, OwnedUserId, ServerName, UInt,
    api::federation::{
        directory::{
            get_public_rooms::v1 as get_public_rooms, get_public_rooms_filtered::v1 as get_public_rooms_filtered,
        },
        query::{
            get_profile_information::v1 as get_profile_information, get_room_information::v1 as get_room_information,
        },
    },
    directory::{Filter, PublicRoomsChunk, RoomNetwork},
};
use serde::Serialize;
use serde_json::Value as Json;

use super::{Bounds, ClientError, Federation};

/// The most servers that are believed to be in a room because the server of its alias says so.
const MOST_SERVERS: usize = 50;

/// A page of another server's directory, as clients get it.
#[derive(Debug, Serialize)]
pub struct PublicRooms {
    chunk: Vec<PublicRoomsChunk>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prev_batch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_room_count_estimate: Option<UInt>,
}

/// Which part of a directory is wanted.
#[derive(Clone, Debug)]
pub struct PublicRoomsQuery {
    /// The most rooms.
    pub limit: UInt,
    /// Where the page before ended.
    pub since: Option<String>,
    /// Which rooms.
    pub filter: Filter,
    /// Of which networks.
    pub network: RoomNetwork,
}

impl Federation {
    /// The profile of another server's user: all fields that the server gives.
    ///
    /// # Errors
    /// When that server gives no answer, or says that there is no such user.
    pub async fn profile_of(&self, user_id: OwnedUserId) -> Result<BTreeMap<String, Json>, ClientError> {
        let server = user_id.server_name().to_owned();
        let request = get_profile_information::Request::new(user_id);
        let response = self.client().request(&server, request, Bounds::USUAL).await?;
        Ok(response.iter().map(|(field, value)| (field.clone(), value.clone())).collect())
    }

    /// The room that an alias of another server names, and servers that are in it: the one of the alias first.
    ///
    /// # Errors
    /// When that server gives no answer, or says that there is no such alias.
    pub async fn room_of_alias(
        &self,
        alias: OwnedRoomAliasId,
    ) -> Result<(OwnedRoomId, Vec<OwnedServerName>), ClientError> {
        let server = alias.server_name().to_owned();
        let request = get_room_information::Request::new(alias);
        let response = self.client().request(&server, request, Bounds::USUAL).await?;
        let mut servers = vec![server];
        for other in response.servers {
            if servers.len() < MOST_SERVERS && !servers.contains(&other) {
                servers.push(other);
            }
        }
        Ok((response.room_id, servers))
    }

    /// A page of another server's directory.
    ///
    /// # Errors
    /// When that server gives no answer, or does not show its directory.
    pub async fn public_rooms_of(
        &self,
        server: &ServerName,
        query: PublicRoomsQuery,
    ) -> Result<PublicRooms, ClientError> {
        let PublicRoomsQuery { limit, since, filter, network } = query;
        if filter.is_empty() {
            let mut request = get_public_rooms::Request::new();
            (request.limit, request.since, request.room_network) = (Some(limit), since, network);
            let page = self.client().request(server, request, Bounds::USUAL).await?;
            return Ok(PublicRooms {
                chunk: page.chunk,
                next_batch: page.next_batch,
                prev_batch: page.prev_batch,
                total_room_count_estimate: page.total_room_count_estimate,
            });
        }
        let mut request = get_public_rooms_filtered::Request::new();
        (request.limit, request.since, request.room_network) = (Some(limit), since, network);
        request.filter = filter;
        let page = self.client().request(server, request, Bounds::USUAL).await?;
        Ok(PublicRooms {
            chunk: page.chunk,
            next_batch: page.next_batch,
            prev_batch: page.prev_batch,
            total_room_count_estimate: page.total_room_count_estimate,
        })
    }
}
