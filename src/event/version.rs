//! Room versions: one table of what differs among them.

use ruma::{RoomVersionId, room_version_rules::RoomVersionRules};

/// What holds in rooms of one version: formats, signatures, redaction, authorisation, resolution.
pub type Rules = RoomVersionRules;

/// The versions that this server creates and joins, oldest first (all are stable by the specification).
pub const SUPPORTED: [RoomVersionId; 12] = [
    RoomVersionId::V1,
    RoomVersionId::V2,
    RoomVersionId::V3,
    RoomVersionId::V4,
    RoomVersionId::V5,
    RoomVersionId::V6,
    RoomVersionId::V7,
    RoomVersionId::V8,
    RoomVersionId::V9,
    RoomVersionId::V10,
    RoomVersionId::V11,
    RoomVersionId::V12,
];

/// The version of new rooms, unless the configuration or the client says otherwise (room versions, "Feature matrix").
pub const DEFAULT: RoomVersionId = RoomVersionId::V12;

static TABLE: [Rules; 12] = [
    Rules::V1,
    Rules::V2,
    Rules::V3,
    Rules::V4,
    Rules::V5,
    Rules::V6,
    Rules::V7,
    Rules::V8,
    Rules::V9,
    Rules::V10,
    Rules::V11,
    Rules::V12,
];

/// The rules of a version; `None` if this server does not know it.
pub fn rules(version: &RoomVersionId) -> Option<&'static Rules> {
    let at = SUPPORTED.iter().position(|supported| supported == version)?;
    TABLE.get(at)
}

/// Whether events carry their own id, as in versions 1 and 2; later it is a hash.
pub fn has_event_ids(rules: &Rules) -> bool {
    rules.event_format.require_event_id
}

/// Whether the room id is the id of the create event under another sigil, as from version 12 on.
pub fn room_id_is_create_id(rules: &Rules) -> bool {
    rules.authorization.room_create_event_id_as_room_id
}

/// Whether `redacts` lives in `content`, as from version 11 on.
pub fn redacts_in_content(rules: &Rules) -> bool {
    rules.redaction.content_field_redacts
}

/// Whether canonical JSON is enforced strictly, as from version 6 on.
pub fn is_strict_json(rules: &Rules) -> bool {
    !rules.authorization.special_case_room_aliases
}

#[cfg(test)]
mod tests {
    use super::*;

    fn versions_with(fits: impl Fn(&Rules) -> bool) -> Vec<usize> {
        SUPPORTED
            .iter()
            .enumerate()
            .filter(|(_, version)| fits(rules(version).unwrap()))
            .map(|(at, _)| at + 1)
            .collect()
    }

    #[test]
    fn versions_differ_where_the_specification_says() {
        assert_eq!(versions_with(has_event_ids), [1, 2]);
        assert_eq!(versions_with(room_id_is_create_id), [12]);
        assert_eq!(versions_with(redacts_in_content), [11, 12]);
        assert_eq!(versions_with(is_strict_json), [6, 7, 8, 9, 10, 11, 12]);
        assert_eq!(versions_with(|rules| rules.authorization.knocking), [7, 8, 9, 10, 11, 12]);
        assert_eq!(versions_with(|rules| rules.authorization.restricted_join_rule), [8, 9, 10, 11, 12]);
        assert_eq!(versions_with(|rules| rules.authorization.knock_restricted_join_rule), [10, 11, 12]);
        assert_eq!(versions_with(|rules| rules.authorization.integer_power_levels), [10, 11, 12]);
        assert_eq!(versions_with(|rules| rules.enforce_key_validity), [5, 6, 7, 8, 9, 10, 11, 12]);
    }

    #[test]
    fn an_unknown_version_has_no_rules() {
        assert!(rules(&RoomVersionId::try_from("13").unwrap()).is_none());
        assert!(rules(&RoomVersionId::try_from("org.matrix.msc3757.10").unwrap()).is_none());
    }
}
