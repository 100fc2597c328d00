//! The answer to `/send_join`: up to 100 MB of events, read one by one, so that junk costs nothing but its bytes.

use std::{collections::HashSet, fmt};

use ruma::OwnedEventId;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::event::{Pdu, Rules};

/// The most entries that are looked at. The largest rooms have some hundred thousand members.
const MOST: usize = 1_000_000;

/// What a resident server says of a room.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The events of the state and of their authorisation, each once.
    pub(super) pdus: Vec<Pdu>,
    /// Which of them are the state, each once.
    pub(super) state: Vec<OwnedEventId>,
    /// The join, as the server has signed it.
    pub(super) event: Option<Box<RawValue>>,
    /// Members may be missing.
    pub(super) members_omitted: bool,
}

/// Reads an answer. What is no event of the room's version costs only itself.
pub(super) fn read(body: &[u8], rules: &Rules) -> Result<Answer, serde_json::Error> {
    let mut reading =
        Reading { rules, answer: Answer::default(), seen: HashSet::new(), in_state: HashSet::new(), entries: 0 };
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    Whole(&mut reading).deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(reading.answer)
}

struct Reading<'r> {
    rules: &'r Rules,
    answer: Answer,
    seen: HashSet<OwnedEventId>,
    in_state: HashSet<OwnedEventId>,
    entries: usize,
}

impl Reading<'_> {
    fn take(&mut self, event: &RawValue, is_state: bool) {
        let Ok(pdu) = Pdu::parse(event.get().as_bytes(), self.rules) else { return };
        if is_state && self.in_state.insert(pdu.event_id().to_owned()) {
            self.answer.state.push(pdu.event_id().to_owned());
        }
        if self.seen.insert(pdu.event_id().to_owned()) {
            self.answer.pdus.push(pdu);
        }
    }
}

struct Whole<'a, 'r>(&'a mut Reading<'r>);

impl<'de> DeserializeSeed<'de> for Whole<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the state of a room")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(reading) = self;
        let (mut state, mut auth_chain) = (false, false);
        while let Some(field) = map.next_key::<String>()? {
            match field.as_str() {
                "state" => {
                    map.next_value_seed(Events { reading, is_state: true })?;
                    state = true;
                }
                "auth_chain" => {
                    map.next_value_seed(Events { reading, is_state: false })?;
                    auth_chain = true;
                }
                "event" => reading.answer.event = map.next_value()?,
                "members_omitted" => reading.answer.members_omitted = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        match (state, auth_chain) {
            (true, true) => Ok(()),
            (false, _) => Err(serde::de::Error::missing_field("state")),
            (true, false) => Err(serde::de::Error::missing_field("auth_chain")),
        }
    }
}

struct Events<'a, 'r> {
    reading: &'a mut Reading<'r>,
    is_state: bool,
}

impl<'de> DeserializeSeed<'de> for Events<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Events<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut events: A) -> Result<(), A::Error> {
        while let Some(event) = events.next_element::<&RawValue>()? {
            self.reading.entries = self.reading.entries.saturating_add(1);
            if self.reading.entries > MOST {
                return Err(serde::de::Error::custom(format_args!("there are more than {MOST} events")));
            }
            self.reading.take(event, self.is_state);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use ruma::RoomVersionId;

    use super::*;
    use crate::event::version;

    fn read_text(text: &str) -> Result<Answer, String> {
        read(text.as_bytes(), version::rules(&RoomVersionId::V11).unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_no_event_costs_only_itself() {
        let answer = read_text(
            r#"{"x":[{}],"auth_chain":[1,{},"a"],"state":[null,[[]]],"event":{"a":1},"members_omitted":true}"#,
        );
        let answer = answer.unwrap();
        assert!(answer.pdus.is_empty() && answer.state.is_empty() && answer.members_omitted);
        assert_eq!(answer.event.unwrap().get(), r#"{"a":1}"#);
    }

    #[test]
    fn what_is_no_state_is_refused() {
        for text in [
            "[]",
            "{}",
            r#"{"state":[]}"#,
            r#"{"state":{},"auth_chain":[]}"#,
            r#"{"state":[],"auth_chain":[]} x"#,
            r#"{"state":[1"#,
        ] {
            read_text(text).unwrap_err();
        }
        let endless = format!(r#"{{"auth_chain":[],"state":[0{}]}}"#, ",0".repeat(MOST));
        assert!(read_text(&endless).unwrap_err().contains("more than 1000000"));
    }
}
