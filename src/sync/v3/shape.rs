//! The form of events that a filter asks for: `event_format` and `event_fields` (client-server API, "Filtering").

use serde_json::{Map, Value};

use super::reply::Json;
use crate::{
    graph::StoredEvent,
    rooms::filter::{EventFormat, Filter},
};

/// Brings written events into the wanted form; `events` are the same, as they are stored.
pub(super) fn shape<'a>(
    filter: &Filter,
    written: Vec<Json>,
    events: impl Iterator<Item = &'a StoredEvent>,
) -> Vec<Json> {
    let written = match filter.event_format {
        EventFormat::Client => written,
        EventFormat::Federation => events.map(|event| event.pdu.to_vec()).collect(),
    };
    match &filter.event_fields {
        None => written,
        Some(fields) => {
            let paths: Vec<Vec<String>> = fields.iter().map(|field| split(field)).collect();
            written.into_iter().map(|event| only(&event, &paths)).collect()
        }
    }
}

/// The parts of a dot-separated path; `\.` is a dot and `\\` a backslash.
fn split(field: &str) -> Vec<String> {
    let (mut parts, mut chars) = (vec![String::new()], field.chars());
    while let Some(next) = chars.next() {
        let literal = match next {
            '.' => {
                parts.push(String::new());
                continue;
            }
            '\\' => chars.next().unwrap_or('\\'),
            other => other,
        };
        if let Some(part) = parts.last_mut() {
            part.push(literal);
        }
    }
    parts
}

/// Only what stands at these paths.
fn only(event: &[u8], paths: &[Vec<String>]) -> Json {
    let whole: Value = serde_json::from_slice(event).unwrap_or_default();
    let mut kept = Map::new();
    for path in paths {
        let Some(value) = path.iter().try_fold(&whole, |value, part| value.as_object()?.get(part)) else { continue };
        keep(&mut kept, path, value);
    }
    Value::Object(kept).to_string().into_bytes()
}

fn keep(kept: &mut Map<String, Value>, path: &[String], value: &Value) {
    match path {
        [] => {}
        [last] => {
            kept.insert(last.clone(), value.clone());
        }
        [first, rest @ ..] => {
            let inner = kept.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                keep(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_paths_with_escaped_dots() {
        let event = br#"{"type":"t","content":{"a":{"b":1,"c":2},"m.x":3},"sender":"@s:s"}"#;
        let kept = |fields: &[&str]| {
            let paths: Vec<_> = fields.iter().map(|field| split(field)).collect();
            String::from_utf8(only(event, &paths)).unwrap()
        };
        assert_eq!(kept(&["type", "content.a.b"]), r#"{"content":{"a":{"b":1}},"type":"t"}"#);
        assert_eq!(kept(&[r"content.m\.x"]), r#"{"content":{"m.x":3}}"#);
        assert_eq!(kept(&["content", "content.a.b"]), r#"{"content":{"a":{"b":1,"c":2},"m.x":3}}"#);
        assert_eq!(kept(&["absent", "content.a.b.c", ""]), "{}");
    }
}
