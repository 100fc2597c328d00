//! What is read of all joined rooms together, before each is written: one wave a kind of row, whatever their number.

use std::{collections::HashSet, sync::Arc};

use super::collect::Question;
use crate::{
    graph::{Head, RoomNo, Root, UserRoom},
    rooms::receipts::{self, Receipt},
    store::{Position, ReadError, View},
    sync::{recent::Recent, subscriber::Touched, unread::Memo},
};

/// What was read of one joined room.
pub(super) struct Read {
    pub(super) recent: Arc<Recent>,
    /// The state that the client knows, if it knows the room: that at `since`.
    pub(super) known: Option<Root>,
    /// Receipts to be sent.
    pub(super) receipts: Vec<Receipt>,
    /// The user's own receipts and what was counted behind them, if their unread counts may have changed.
    pub(super) unread: Option<(Vec<Receipt>, Option<Arc<Memo>>)>,
}

/// Reads them, in their order.
pub(super) fn read(
    question: &Question,
    view: &View<'_>,
    rooms: &[(RoomNo, &UserRoom, &Head)],
) -> Result<Vec<Read>, ReadError> {
    let heads: Vec<_> = rooms.iter().map(|(room, _, head)| (*room, *head)).collect();
    let recents = question.recents.of(view, &question.reader, &heads)?;
    let known = known(question, view, rooms, &recents)?;
    let (mut new, mut receipted, mut counted) = (Vec::new(), Vec::new(), Vec::new());
    let with_receipts = Receipted::of(question);
    for ((room, _, head), known) in rooms.iter().zip(&known) {
        let since = question.since.filter(|_| known.is_some());
        match since {
            None => new.push(*room),
            Some(_) if with_receipts.has(*room) => receipted.push(*room),
            Some(_) => {}
        }
        if since.is_none_or(|since| head.last_position > since || with_receipts.has(*room)) {
            counted.push(*room);
        }
    }
    let user_id = &question.request.user_id;
    let mut of_new = receipts::all(view, &new, user_id)?.into_iter();
    let interval = (question.since.unwrap_or(Position::ZERO), question.through);
    let mut of_receipted = receipts::since(view, &receipted, user_id, interval)?.into_iter();
    let mut own = receipts::of_user(view, &counted, user_id)?.into_iter();
    let mut memos = question.memos.counted(view, user_id, (&counted, question.through))?.into_iter();
    let (new, receipted): (HashSet<_>, HashSet<_>) = (new.into_iter().collect(), receipted.into_iter().collect());
    let counted: HashSet<_> = counted.into_iter().collect();
    let read = rooms.iter().zip(recents).zip(known).map(|(((room, ..), recent), known)| {
        let receipts = if new.contains(room) {
            of_new.next().unwrap_or_default()
        } else if receipted.contains(room) {
            of_receipted.next().unwrap_or_default()
        } else {
            Vec::new()
        };
        let unread = counted.contains(room).then(|| (own.next().unwrap_or_default(), memos.next().flatten()));
        Read { recent, known, receipts, unread }
    });
    Ok(read.collect())
}

/// The rooms in which receipts may have moved.
enum Receipted {
    Of(HashSet<RoomNo>),
    /// Not known: any.
    Any,
}

impl Receipted {
    fn of(question: &Question) -> Self {
        let room = |touched: &Touched| if let Touched::Receipts(room) = touched { Some(*room) } else { None };
        let touched = question.touched.as_ref();
        touched.map_or(Self::Any, |touched| Self::Of(touched.iter().filter_map(room).collect()))
    }

    fn has(&self, room: RoomNo) -> bool {
        match self {
            Self::Of(rooms) => rooms.contains(&room),
            Self::Any => true,
        }
    }
}

/// The state that the client knows of each room: that at `since`, if the user was joined then.
fn known(
    question: &Question,
    view: &View<'_>,
    rooms: &[(RoomNo, &UserRoom, &Head)],
    recents: &[Arc<Recent>],
) -> Result<Vec<Option<Root>>, ReadError> {
    let Some(since) = question.since else { return Ok(vec![None; rooms.len()]) };
    let mut known: Vec<Option<Root>> = recents.iter().map(|recent| recent.root_at(since)).collect();
    let lacking: Vec<_> = known.iter().zip(rooms).filter(|(root, _)| root.is_none()).collect();
    let lacking: Vec<_> = lacking.into_iter().map(|(_, (room, ..))| (*room, since)).collect();
    let mut read = question.reader.roots_at(view, &lacking)?.into_iter();
    for (root, (room, row, _)) in known.iter_mut().zip(rooms) {
        let at_since = root.or_else(|| read.next()).unwrap_or_default();
        let was_joined = row.position <= since || super::room::was_joined(question, view, *room, at_since)?;
        *root = was_joined.then_some(at_since);
    }
    Ok(known)
}
