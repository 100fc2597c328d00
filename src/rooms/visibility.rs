//! Who may see an event: `m.room.history_visibility` × the user's membership, both at the event.
//!
//! Client-server API, "Room History Visibility". The rule itself ([`may_see`]) is pure; [`Eyes`] finds what it rests on.

use std::collections::{HashMap, HashSet};

use ruma::{OwnedUserId, UserId};

use super::{content, ignored::Ignored};
use crate::{
    graph::{Event, Membership, Reader, RoomNo, Root, Seq, StateKey, UserRoom},
    store::{Position, ReadError, View},
};

pub(super) const HISTORY_VISIBILITY: &str = "m.room.history_visibility";
pub(super) const MEMBER: &str = "m.room.member";

/// What `m.room.history_visibility` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HistoryVisibility {
    /// Anybody may read.
    WorldReadable,
    /// Members, also what happened before they joined.
    #[default]
    Shared,
    /// Members from their invite on.
    Invited,
    /// Members from their joining on.
    Joined,
}

impl HistoryVisibility {
    /// Reads the content of the state event. Absent or not understood is `shared`.
    pub fn of(content: Option<&[u8]>) -> Self {
        let word = content.and_then(|content| content::text(content, "history_visibility"));
        match word.as_deref() {
            Some("world_readable") => Self::WorldReadable,
            Some("invited") => Self::Invited,
            Some("joined") => Self::Joined,
            _ => Self::Shared,
        }
    }
}

/// What holds in a room at a moment, for one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The room's setting.
    pub visibility: HistoryVisibility,
    /// The user's membership; `leave` if there never was one.
    pub membership: Membership,
}

impl Moment {
    /// The five rules of the specification.
    fn lets_see(self, joined_later: bool) -> bool {
        match (self.visibility, self.membership) {
            (HistoryVisibility::WorldReadable, _) | (_, Membership::Join) => true,
            (HistoryVisibility::Shared, _) => joined_later,
            (HistoryVisibility::Invited, Membership::Invite) => true,
            (HistoryVisibility::Invited | HistoryVisibility::Joined, _) => false,
        }
    }
}

/// Whether a user may see an event. `before` and `after` it differ only for an event that changes the setting or the
/// user's own membership; such an event is seen if either lets it be. `joined_later`: the user joined the room at any
/// point after the event.
pub fn may_see(before: Moment, after: Moment, joined_later: bool) -> bool {
    before.lets_see(joined_later) || after.lets_see(joined_later)
}

/// How a user stands to a room now, which bounds what they may read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Joined.
    Joined,
    /// Was joined, and has not forgotten the room.
    Left {
        /// The commit of the leave.
        at: Position,
        /// The state that includes it: the last that the user may see.
        root: Root,
    },
    /// Never joined (but may be invited, or peek).
    Outside,
    /// Has forgotten the room, and with it all that they could see as a member.
    Forgotten,
}

impl Standing {
    /// Reads it.
    pub fn of(reader: &Reader, view: &View<'_>, room: RoomNo, user_id: &UserId) -> Result<Self, ReadError> {
        let row = reader.user_room(view, user_id, room)?;
        Ok(row.map_or(Self::Outside, |row| Self::by(&row)))
    }

    /// What a user's relation to the room says.
    pub fn by(row: &UserRoom) -> Self {
        match (row.membership, row.left_root.zip(row.left_at)) {
            (Membership::Join, _) => Self::Joined,
            _ if row.forgotten => Self::Forgotten,
            (_, Some((root, at))) => Self::Left { at, root },
            _ => Self::Outside,
        }
    }

    /// Whether the user joined the room after this event, given that they were not joined at it.
    fn joined_after(self, event: &Event) -> bool {
        match self {
            Self::Joined => true,
            Self::Left { at, .. } => event.meta.tie.is_backfilled() || event.meta.position() < at,
            Self::Outside | Self::Forgotten => false,
        }
    }

    /// Whether the event came when the user was gone already: then it is not for them as a member, whatever branch of
    /// the graph it comes from.
    fn left_before(self, event: &Event) -> bool {
        match self {
            Self::Left { at, .. } => !event.meta.tie.is_backfilled() && event.meta.position() > at,
            Self::Joined | Self::Outside | Self::Forgotten => false,
        }
    }
}

/// Looks at events of one room as one user, remembering what held at which state.
#[derive(Debug)]
pub struct Eyes {
    room: RoomNo,
    user_id: OwnedUserId,
    standing: Standing,
    ignored: Ignored,
    moments: HashMap<Root, Moment>,
    /// The same by the events that say it: the setting and the user's membership.
    known: HashMap<Vec<Option<Seq>>, Moment>,
}

impl Eyes {
    /// The eyes of a user in a room.
    pub fn of(reader: &Reader, view: &View<'_>, room: RoomNo, user_id: &UserId) -> Result<Self, ReadError> {
        Ok(Self::standing_as(room, user_id, Standing::of(reader, view, room, user_id)?))
    }

    /// The same, where it is known already how the user stands to the room.
    pub fn standing_as(room: RoomNo, user_id: &UserId, standing: Standing) -> Self {
        let (ignored, moments, known) = Default::default();
        Self { room, user_id: user_id.to_owned(), standing, ignored, moments, known }
    }

    /// The same, of a user who ignores others. What these sent may still be seen; lists and counts leave it out, by
    /// [`Eyes::hears`].
    pub fn ignoring(self, ignored: Ignored) -> Self {
        Self { ignored, ..self }
    }

    /// Whom the user ignores.
    pub fn ignored(&self) -> &Ignored {
        &self.ignored
    }

    /// Whether the user does not ignore the event's sender, or the event is state.
    pub fn hears(&self, event: &Event) -> bool {
        self.ignored.hears(event)
    }

    /// The user.
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }

    /// How the user stands to the room now.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// What holds in a state.
    pub fn moment(&mut self, reader: &Reader, view: &View<'_>, root: Root) -> Result<Moment, ReadError> {
        self.prepare(reader, view, [root])?;
        // INVARIANT: it was just put there; what it says of an unknown state lets nobody see anything.
        let nothing = Moment { visibility: HistoryVisibility::Joined, membership: Membership::Leave };
        Ok(self.moments.get(&root).copied().unwrap_or(nothing))
    }

    /// Reads what holds in these states, all at once: for whoever is about to look at many events.
    pub fn prepare(
        &mut self,
        reader: &Reader,
        view: &View<'_>,
        roots: impl IntoIterator<Item = Root>,
    ) -> Result<(), ReadError> {
        let keys = [StateKey::new(HISTORY_VISIBILITY, ""), StateKey::new(MEMBER, self.user_id.as_str())];
        let roots: HashSet<Root> = roots.into_iter().filter(|root| !self.moments.contains_key(root)).collect();
        let mut found = Vec::with_capacity(roots.len());
        for root in roots {
            found.push((root, reader.state_seqs(view, self.room, root, &keys)?));
        }
        // Most states differ in neither of the two events.
        let unknown: HashSet<_> =
            found.iter().map(|(_, seqs)| seqs).filter(|seqs| !self.known.contains_key(*seqs)).collect();
        let numbers: HashSet<Seq> = unknown.iter().flat_map(|seqs| seqs.iter().flatten().copied()).collect();
        let numbers: Vec<_> = numbers.into_iter().map(|seq| (self.room, seq)).collect();
        let events = reader.events(view, &numbers)?;
        let moments = unknown.into_iter().map(|seqs| {
            let content = |at: usize| {
                let seq = seqs.get(at).copied().flatten()?;
                events.iter().flatten().find(|event| event.seq == seq).map(|event| event.content())
            };
            let visibility = HistoryVisibility::of(content(0));
            (seqs.clone(), Moment { visibility, membership: membership_in(content(1)) })
        });
        self.known.extend(moments.collect::<Vec<_>>());
        let moments = found.into_iter().filter_map(|(root, seqs)| Some((root, *self.known.get(&seqs)?)));
        self.moments.extend(moments);
        Ok(())
    }

    /// Whether the user may see the state that the room had at a position; `root` is that state.
    pub fn sees_state(
        &mut self,
        reader: &Reader,
        view: &View<'_>,
        (root, at): (Root, Position),
    ) -> Result<bool, ReadError> {
        let moment = self.moment(reader, view, root)?;
        let outside = Moment { membership: Membership::Leave, ..moment };
        Ok(match self.standing {
            Standing::Joined => moment.lets_see(true),
            Standing::Left { at: left, .. } if at < left => moment.lets_see(true),
            Standing::Outside => moment.lets_see(false),
            Standing::Left { .. } | Standing::Forgotten => outside.lets_see(false),
        })
    }

    /// For each of these events of the room, in their order: the user's membership at it (as the event leaves it; for
    /// `unsigned.membership`), or `None` if they may not see it.
    pub fn look(
        &mut self,
        reader: &Reader,
        view: &View<'_>,
        events: &[Event],
    ) -> Result<Vec<Option<Membership>>, ReadError> {
        events.iter().map(|event| self.look_at(reader, view, event)).collect()
    }

    /// [`Eyes::look`] for one event.
    pub fn look_at(
        &mut self,
        reader: &Reader,
        view: &View<'_>,
        event: &Event,
    ) -> Result<Option<Membership>, ReadError> {
        if event.room != self.room || !event.is_accepted() {
            return Ok(None);
        }
        let mut before = self.moment(reader, view, event.meta.root_before)?;
        let mut after = before;
        if event.is_state(HISTORY_VISIBILITY, "") {
            after.visibility = HistoryVisibility::of(Some(event.content()));
        } else if event.is_state(MEMBER, self.user_id.as_str()) {
            after.membership = membership_in(Some(event.content()));
        }
        for moment in [&mut before, &mut after] {
            moment.membership = match (self.standing, moment.membership) {
                (Standing::Forgotten, _) => Membership::Leave,
                (standing, Membership::Join) if standing.left_before(event) => Membership::Leave,
                (_, membership) => membership,
            };
        }
        let sees = may_see(before, after, self.standing.joined_after(event));
        Ok(sees.then_some(after.membership))
    }
}

/// The membership that a content says; `leave` if it is absent or odd.
pub(super) fn membership_in(content: Option<&[u8]>) -> Membership {
    let word = content.and_then(|content| content::text(content, "membership"));
    word.and_then(|word| Membership::parse(&word)).unwrap_or(Membership::Leave)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's text once more, as a history: what was set and what happened, oldest first.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Step {
        Set(&'static str),
        Member(&'static str),
        Message,
    }

    /// Whether the user sees the step at `at` in a history: read literally off the five rules and the two exceptions.
    fn model(history: &[Step], at: usize) -> bool {
        let setting_at = |end: usize| {
            let set = history[..end].iter().rev().find_map(|step| match step {
                Step::Set(setting) => Some(*setting),
                _ => None,
            });
            set.filter(|set| ["world_readable", "shared", "invited", "joined"].contains(set)).unwrap_or("shared")
        };
        let member_at = |end: usize| {
            let word = history[..end].iter().rev().find_map(|step| match step {
                Step::Member(word) => Some(*word),
                _ => None,
            });
            word.unwrap_or("leave")
        };
        let joined_after = history[at + 1..].contains(&Step::Member("join"));
        let allowed = |setting: &str, member: &str| {
            setting == "world_readable"
                || member == "join"
                || (setting == "shared" && joined_after)
                || (member == "invite" && setting == "invited")
        };
        match history[at] {
            Step::Message => allowed(setting_at(at), member_at(at)),
            Step::Set(_) => [at, at + 1].into_iter().any(|end| allowed(setting_at(end), member_at(at))),
            Step::Member(_) => [at, at + 1].into_iter().any(|end| allowed(setting_at(at), member_at(end))),
        }
    }

    fn ours(history: &[Step], at: usize) -> bool {
        let moment = |end: usize| {
            let mut moment = Moment { visibility: HistoryVisibility::default(), membership: Membership::Leave };
            for step in &history[..end] {
                match step {
                    Step::Set(word) => {
                        let content = format!(r#"{{"history_visibility":"{word}"}}"#);
                        moment.visibility = HistoryVisibility::of(Some(content.as_bytes()));
                    }
                    Step::Member(word) => {
                        moment.membership = membership_in(Some(format!(r#"{{"membership":"{word}"}}"#).as_bytes()));
                    }
                    Step::Message => {}
                }
            }
            moment
        };
        may_see(moment(at), moment(at + 1), history[at + 1..].contains(&Step::Member("join")))
    }

    #[test]
    fn the_rule_is_the_specifications_on_every_history_of_four_steps() {
        let steps = ["world_readable", "shared", "invited", "joined", "nonsense"].map(Step::Set);
        let members = ["invite", "join", "leave", "ban", "knock"].map(Step::Member);
        let steps: Vec<Step> = steps.into_iter().chain(members).chain([Step::Message]).collect();
        for number in 0..steps.len().pow(4) {
            let mut rest = number;
            let history: [Step; 4] = std::array::from_fn(|_| {
                let step = steps[rest % steps.len()];
                rest /= steps.len();
                step
            });
            for at in 0..history.len() {
                assert_eq!(ours(&history, at), model(&history, at), "step {at} of {history:?}");
            }
        }
    }

    #[test]
    fn odd_contents_are_shared_and_left() {
        for odd in ["{}", "[]", "1", "null", "true", r#""x""#] {
            let content = format!(r#"{{"history_visibility":{odd},"membership":{odd}}}"#);
            assert_eq!(HistoryVisibility::of(Some(content.as_bytes())), HistoryVisibility::Shared);
            assert_eq!(membership_in(Some(content.as_bytes())), Membership::Leave);
        }
        assert_eq!(HistoryVisibility::of(None), HistoryVisibility::Shared);
    }
}
