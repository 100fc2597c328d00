//! Events that are made before they have a place in a graph of ours: what other servers have to sign first, what their users
//! are to send, and what is for a room that is not here.

use ruma::{OwnedServerName, RoomVersionId};

use super::{Env, build::chosen_id, draft::Draft, room::Room};
use crate::{
    event::{BuildError, Pdu, SigningKey, Template, build, version},
    graph::{Proposal, RoomNo, SendError},
    store::{ReadError, View},
};

/// Signs what is only to be judged, and thrown away then.
const SCRATCH: [u8; 32] = [0; 32];

/// What the event of a proposal would say now, if the auth rules allow it. A failure of the store ends the read; all else
/// is an answer.
pub(in crate::graph) fn template(
    env: &Env,
    view: &View<'_>,
    room: RoomNo,
    proposal: &Proposal,
) -> Result<Result<Template, SendError>, ReadError> {
    let made = || {
        let room = Room::load(&env.reader, view, room)?;
        let mut draft = Draft::new(env, view, &room);
        draft.prepare(std::iter::once(proposal))?;
        let scratch = scratch_key(&env.server_name)?;
        draft.template_of(proposal, &scratch)
    };
    match made() {
        Err(SendError::Read(error)) => Err(error),
        made => Ok(made),
    }
}

fn scratch_key(server_name: &OwnedServerName) -> Result<SigningKey, SendError> {
    SigningKey::from_seed(&SCRATCH, "scratch", server_name)
        .map_err(|_| super::room::lost("any 32 bytes are the seed of a key").into())
}

/// Signs an event of a user of ours, for a room of this version. Its time is now, and its id, where the version lets it be
/// chosen, is chosen here.
pub(in crate::graph) fn sign(
    env: &Env,
    mut template: Template,
    room_version: &RoomVersionId,
) -> Result<Pdu, SendError> {
    let rules = version::rules(room_version).ok_or_else(|| SendError::UnknownVersion(room_version.clone()))?;
    if template.sender.server_name() != &*env.server_name {
        return Err(crate::event::auth::AuthError("the sender is no user of this server".to_owned()).into());
    }
    template.event_id = chosen_id(env, rules);
    template.origin_server_ts = env.clock.now();
    Ok(build::build(template, rules, &env.key)?)
}

/// Adds this server's signature to an event of another one. What the event says stays as it is.
pub(in crate::graph) fn countersign(env: &Env, pdu: &Pdu, room_version: &RoomVersionId) -> Result<Pdu, SendError> {
    let rules = version::rules(room_version).ok_or_else(|| SendError::UnknownVersion(room_version.clone()))?;
    let mut object = pdu.to_object()?;
    env.key.sign_event(&mut object, rules).map_err(BuildError::from)?;
    Ok(Pdu::from_object(object, rules)?)
}
