//! The codec's promises, on tuples made at random: round trip, order, prefixes.

use proptest::prelude::*;

use super::*;

type Tuple = (u8, i64, String, Vec<u8>, u32);

/// Few different bytes, and among them those that are escaped: so that prefixes and near misses are common.
fn tuple() -> impl Strategy<Value = Tuple> {
    let text = proptest::collection::vec(
        prop_oneof![Just('\0'), Just('\u{1}'), Just('\u{2}'), Just('a'), any::<char>()],
        0..5,
    );
    let bytes = proptest::collection::vec(prop_oneof![0_u8..3, Just(0xFF)], 0..5);
    (0_u8..3, prop_oneof![-2_i64..3, any::<i64>()], text, bytes, any::<u32>())
        .prop_map(|(a, b, text, d, e)| (a, b, text.into_iter().collect(), d, e))
}

fn encoded(key: &impl PrefixOf<Tuple>) -> Vec<u8> {
    let mut out = Vec::new();
    key.encode(&mut out);
    out
}

proptest! {
    #[test]
    fn what_was_encoded_is_read_again(key in tuple()) {
        prop_assert_eq!(<Tuple as Key>::decode(&encoded(&key)), Ok(key));
    }

    #[test]
    fn bytes_are_ordered_as_tuples(one in tuple(), other in tuple()) {
        prop_assert_eq!(encoded(&one).cmp(&encoded(&other)), one.cmp(&other));
    }

    #[test]
    fn a_shorter_tuple_is_a_prefix_of_those_that_begin_with_it_and_of_no_other(one in tuple(), other in tuple()) {
        let (bytes, (a, b, c, d, _)) = (encoded(&other), &one);
        prop_assert_eq!(bytes.starts_with(&encoded(&(a,))), *a == other.0);
        prop_assert_eq!(bytes.starts_with(&encoded(&(a, b))), (a, b) == (&other.0, &other.1));
        prop_assert_eq!(bytes.starts_with(&encoded(&(a, b, c))), (a, b, c) == (&other.0, &other.1, &other.2));
        let four = (a, b, c, d) == (&other.0, &other.1, &other.2, &other.3);
        prop_assert_eq!(bytes.starts_with(&encoded(&(a, b, c, d))), four);
    }

    #[test]
    fn a_borrowed_string_stands_for_an_owned_one(key in tuple()) {
        prop_assert_eq!(encoded(&(key.0, key.1, key.2.as_str(), &key.3, key.4)), encoded(&key));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(prop_oneof![0_u8..3, any::<u8>()], 0..40)) {
        // One form for one key: whatever is accepted is what would be written.
        if let Ok(key) = <Tuple as Key>::decode(&bytes) {
            prop_assert_eq!(encoded(&key), bytes);
        }
    }
}
