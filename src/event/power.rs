//! Power levels as they are asked: what a user may do, and what something needs (client-server API,
//! "m.room.power_levels"; room version 12 for creators).

use std::collections::BTreeSet;

use ruma::{OwnedUserId, UserId};

use super::{
    levels::{Form, Levels, Named},
    pdu::Pdu,
    version::Rules,
};

/// How much a user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// What `users` or `users_default` says.
    Finite(i64),
    /// A creator of a room of version 12 or later: above every number.
    Infinite,
}

/// A level with a name of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Inviting others.
    Invite,
    /// Removing others.
    Kick,
    /// Banning others.
    Ban,
    /// Redacting what others sent.
    Redact,
}

/// The power levels of a room at one state. Whoever wrote them, they are always readable: what is odd counts as absent.
///
/// The event's content is read once, however often this is made of it.
#[derive(Clone, Debug)]
pub struct PowerLevels {
    event: Option<Pdu>,
    creators: BTreeSet<OwnedUserId>,
    /// Creators are above every level.
    privileged: bool,
    form: Form,
}

impl PowerLevels {
    /// Reads them from the room's create event and its power levels, if it has any.
    pub fn new(create: &Pdu, levels: Option<&Pdu>, rules: &Rules) -> Self {
        let privileged = rules.authorization.explicitly_privilege_room_creators;
        Self { event: levels.cloned(), creators: creators(create, rules), privileged, form: Form::of(rules) }
    }

    /// What a user may do.
    pub fn of(&self, user_id: &UserId) -> Level {
        let is_creator = self.creators.contains(user_id);
        if is_creator && self.privileged {
            return Level::Infinite;
        }
        let Some(levels) = self.levels() else { return Level::Finite(if is_creator { 100 } else { 0 }) };
        let own = levels.users.get(user_id.as_str()).copied();
        Level::Finite(own.unwrap_or_else(|| levels.named_or_default(Named::UsersDefault)))
    }

    /// What sending an event of this type needs.
    pub fn to_send(&self, kind: &str, is_state: bool) -> Level {
        let own = self.levels().and_then(|levels| levels.events.get(kind).copied());
        let default = if is_state { Named::StateDefault } else { Named::EventsDefault };
        own.map_or_else(|| self.named(default), Level::Finite)
    }

    /// What an action needs.
    pub fn to(&self, action: Action) -> Level {
        self.named(match action {
            Action::Invite => Named::Invite,
            Action::Kick => Named::Kick,
            Action::Ban => Named::Ban,
            Action::Redact => Named::Redact,
        })
    }

    /// What notifying like this needs; `room` for `@room`.
    pub fn to_notify(&self, key: &str) -> Level {
        Level::Finite(self.levels().and_then(|levels| levels.notifications.get(key).copied()).unwrap_or(50))
    }

    /// The creators: the create event's sender (or what it calls `creator`) and `additional_creators`.
    pub fn creators(&self) -> &BTreeSet<OwnedUserId> {
        &self.creators
    }

    /// Those whom the power levels name, whatever they may do.
    pub fn named_users(&self) -> impl Iterator<Item = OwnedUserId> {
        let names = self.levels().map(|levels| levels.users.keys()).into_iter().flatten();
        names.filter_map(|name| UserId::parse(name.as_str()).ok())
    }

    /// What those may do who are neither creators nor named.
    pub fn of_others(&self) -> Level {
        self.named(Named::UsersDefault)
    }

    pub(super) fn levels(&self) -> Option<&Levels> {
        self.event.as_ref().map(|event| event.levels(self.form))
    }

    fn named(&self, name: Named) -> Level {
        Level::Finite(self.levels().map_or(name.default(), |levels| levels.named_or_default(name)))
    }
}

/// The user whose room it is: the create event's sender, in versions 1–10 what it calls `creator`. `None` if it names
/// nobody.
pub(super) fn creator(create: &Pdu, rules: &Rules) -> Option<OwnedUserId> {
    if rules.authorization.use_room_create_sender {
        Some(create.sender().to_owned())
    } else {
        create.content_field("creator")
    }
}

fn creators(create: &Pdu, rules: &Rules) -> BTreeSet<OwnedUserId> {
    let mut creators: BTreeSet<OwnedUserId> = creator(create, rules).into_iter().collect();
    if rules.authorization.additional_room_creators {
        let more: Option<Vec<OwnedUserId>> = create.content_field("additional_creators");
        creators.extend(more.unwrap_or_default());
    }
    creators
}
