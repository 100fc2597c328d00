//! The body of a request, before anybody reads it: JSON in UTF-8, of bounded depth, that can be written again.

use super::error::Refusal;

/// How deep arrays and objects may nest. What a client sends comes back inside other JSON (an event in a `/sync` is eight
/// levels down), and readers give up at 128.
const DEEPEST: usize = 100;

/// The largest number that is kept. What a double does not hold (1e400 is JSON all the same) most readers refuse, and the
/// rest of what they read with it: a whole `/sync`.
const LARGEST_NUMBER: f64 = 1e308;

/// A body without the space around it, if it is a JSON object or empty, and fit to be kept as it came.
///
/// ruma's types keep parts of a body as they are, and neither count depth there nor look into escapes; serde would read
/// an array as a struct too, field by field.
///
/// # Errors
/// 400 `M_NOT_JSON` or `M_BAD_JSON`.
pub fn json_object(body: &[u8]) -> Result<&[u8], Refusal> {
    let body = body.trim_ascii();
    if body.is_empty() {
        return Ok(body);
    }
    if std::str::from_utf8(body).is_err() {
        return Err(Refusal::not_json("The body is not UTF-8"));
    }
    scan(body)?;
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        return Err(Refusal::not_json(format!("The body is not JSON: {error}")));
    }
    if body.first() == Some(&b'{') { Ok(body) } else { Err(Refusal::bad_json("The body must be a JSON object")) }
}

/// Looks at depth, at escapes of half characters and at the size of numbers; the parser finds everything else.
fn scan(body: &[u8]) -> Result<(), Refusal> {
    let (mut depth, mut rest) = (0_usize, body);
    while let Some((byte, after)) = rest.split_first() {
        let here = rest;
        rest = after;
        match byte {
            b'{' | b'[' => {
                depth = depth.saturating_add(1);
                if depth > DEEPEST {
                    return Err(Refusal::bad_json("The body nests too deeply"));
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => rest = string(rest)?,
            b'-' | b'0'..=b'9' => rest = number(here)?,
            _ => {}
        }
    }
    Ok(())
}

/// What stands behind the number that begins here.
fn number(here: &[u8]) -> Result<&[u8], Refusal> {
    let end = here.iter().position(|byte| !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    let (text, after) = here.split_at_checked(end.unwrap_or(here.len())).unwrap_or((here, &[]));
    // What is no number at all the parser finds.
    let value: Option<f64> = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    if value.is_some_and(|value| value.abs() > LARGEST_NUMBER) {
        return Err(Refusal::bad_json("The body has a number that is too large"));
    }
    Ok(after)
}

/// What stands behind the string that begins here.
fn string(mut rest: &[u8]) -> Result<&[u8], Refusal> {
    let half = || Refusal::not_json("The body has an escape of half a character");
    // An unfinished string ends the scan; the parser says what is wrong with it.
    while let Some(at) = rest.iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        let (byte, after) = rest.get(at..).and_then(<[u8]>::split_first).unwrap_or((&b'"', &[]));
        rest = after;
        if *byte == b'"' {
            break;
        }
        rest = match escaped(rest) {
            Some((0xd800..0xdc00, after)) => match after.strip_prefix(b"\\").and_then(escaped) {
                Some((0xdc00..0xe000, after)) => after,
                _ => return Err(half()),
            },
            Some((0xdc00..0xe000, _)) => return Err(half()),
            Some((_, after)) => after,
            // Not of the form `\u0000`: one character is escaped.
            None => rest.get(1..).unwrap_or_default(),
        };
    }
    Ok(rest)
}

/// The number of `u0000`, and what stands behind it.
fn escaped(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, after) = rest.strip_prefix(b"u")?.split_at_checked(4)?;
    let number = digits.iter().try_fold(0, |number, digit| Some(number * 16 + char::from(*digit).to_digit(16)?))?;
    Some((number, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_characters_are_found_wherever_they_stand() {
        for good in [
            r#"{"a":"\ud83d\ude00"}"#,
            r#"{"\\ud800":1}"#,
            r#"{"a":"\\\\ud800"}"#,
            r#"{"a":"\u00e9\n\""}"#,
            "{\"a\":\"",
        ] {
            assert!(scan(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in [
            r#"{"a":"\ud800"}"#,
            r#"{"a":"\uD800x"}"#,
            r#"{"\udc00":1}"#,
            r#"{"a":"\ud800\ud800"}"#,
            r#"{"a":"\\\ud800"}"#,
        ] {
            assert_eq!(scan(bad.as_bytes()).unwrap_err().code(), "M_NOT_JSON", "{bad}");
        }
    }

    #[test]
    fn numbers_are_such_as_everybody_can_read() {
        for good in ["[0,-1,1.5e3,1e308,-1E+308,1e-400,123456789012345678901234567890]", r#"{"a1e400":"1e400"}"#] {
            assert!(scan(good.as_bytes()).is_ok(), "{good}");
        }
        let digits = "9".repeat(400);
        for bad in ["1e400", "-1e400", "1E+309", "1.8e308", "0.1e9999999999999", &*digits] {
            for body in [format!("{{\"a\":{bad}}}"), format!("{{\"a\":[1,{{\"b\":{bad} }}]}}")] {
                assert_eq!(json_object(body.as_bytes()).unwrap_err().code(), "M_BAD_JSON", "{body}");
            }
        }
    }

    #[test]
    fn depth_is_bounded_outside_of_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(scan(nested(DEEPEST).as_bytes()).is_ok());
        assert_eq!(scan(nested(DEEPEST + 1).as_bytes()).unwrap_err().code(), "M_BAD_JSON");
        assert!(scan(format!("{{\"a\":\"{}\"}}", "[".repeat(500)).as_bytes()).is_ok());
        assert!(scan("[]".repeat(500).as_bytes()).is_ok());
    }
}
