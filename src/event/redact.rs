//! Redaction: what is left of an event (room versions, "Redactions"). Never changes the event's id.

use ruma::room_version_rules::RedactionRules;

use super::{
    format::FormatError,
    json::JsonError,
    members::{Member, ObjectText, members, value_of},
    version::Rules,
};

/// The redacted form of an event that is canonical JSON. What is left is canonical again.
pub fn redact(json: &str, rules: &Rules) -> Result<String, FormatError> {
    let members = members(json)?;
    let mut out = String::with_capacity(json.len());
    write_redacted(&mut out, &members, &rules.redaction, true)?;
    Ok(out)
}

/// What is signed, and what the reference hash covers: the redacted form without its signatures.
pub(super) fn essential(members: &[Member<'_>], rules: &Rules) -> Result<String, JsonError> {
    let mut out = String::with_capacity(1_024);
    write_redacted(&mut out, members, &rules.redaction, false)?;
    Ok(out)
}

fn write_redacted(
    out: &mut String,
    members: &[Member<'_>],
    rules: &RedactionRules,
    with_signatures: bool,
) -> Result<(), JsonError> {
    let kind: &str = value_of(members, "type").unwrap_or_default();
    // No type that keeps any content has escapes in its name.
    let kind = kind.trim_matches('"');
    let mut object = ObjectText::begin(out);
    for member in members {
        match &*member.key {
            "content" => write_content(object.key("content"), kind, member.value, rules)?,
            "signatures" if with_signatures => object.member(member.text),
            "event_id" | "type" | "room_id" | "sender" | "state_key" | "hashes" | "depth" | "prev_events"
            | "auth_events" | "origin_server_ts" => object.member(member.text),
            "origin" | "membership" | "prev_state" if rules.keep_origin_membership_prev_state => {
                object.member(member.text);
            }
            _ => {}
        }
    }
    object.end();
    Ok(())
}

/// Whether the content of events of this type loses everything.
fn loses_all(kind: &str) -> bool {
    !matches!(
        kind,
        "m.room.member"
            | "m.room.create"
            | "m.room.join_rules"
            | "m.room.power_levels"
            | "m.room.history_visibility"
            | "m.room.redaction"
            | "m.room.aliases"
    )
}

pub(super) fn write_content(
    out: &mut String,
    kind: &str,
    content: &str,
    rules: &RedactionRules,
) -> Result<(), JsonError> {
    if loses_all(kind) {
        out.push_str("{}");
        return Ok(());
    }
    if kind == "m.room.create" && rules.keep_room_create_content {
        out.push_str(content);
        return Ok(());
    }
    let mut object = ObjectText::begin(out);
    for member in members(content)? {
        if keeps(kind, &member.key, rules) {
            object.member(member.text);
        } else if kind == "m.room.member"
            && member.key == "third_party_invite"
            && rules.keep_room_member_third_party_invite_signed
            // What is no object has no `signed` to keep; other servers drop it, and the event's id hangs on it.
            && member.value.starts_with('{')
        {
            let mut invite = ObjectText::begin(object.key("third_party_invite"));
            members(member.value)?
                .iter()
                .filter(|member| member.key == "signed")
                .for_each(|signed| invite.member(signed.text));
            invite.end();
        }
    }
    object.end();
    Ok(())
}

/// Whether a key of the content is kept.
fn keeps(kind: &str, key: &str, rules: &RedactionRules) -> bool {
    match (kind, key) {
        ("m.room.member", "membership")
        | ("m.room.create", "creator")
        | ("m.room.join_rules", "join_rule")
        | ("m.room.history_visibility", "history_visibility")
        | (
            "m.room.power_levels",
            "ban" | "events" | "events_default" | "kick" | "redact" | "state_default" | "users" | "users_default",
        ) => true,
        ("m.room.member", "join_authorised_via_users_server") => {
            rules.keep_room_member_join_authorised_via_users_server
        }
        ("m.room.join_rules", "allow") => rules.keep_room_join_rules_allow,
        ("m.room.power_levels", "invite") => rules.keep_room_power_levels_invite,
        ("m.room.redaction", "redacts") => rules.keep_room_redaction_redacts,
        ("m.room.aliases", "aliases") => rules.keep_room_aliases_aliases,
        _ => false,
    }
}
