//! Spans against a filter over all keys.

use proptest::prelude::*;

use super::*;
use crate::store::{Batch, ReadError, Store, engine::memory::Memory};

const PAIRS: Keyspace<(u8, u8), ()> = Keyspace::new(Family::Hot, 0xE0, "pairs", "test");
/// Neighbours of the above, which no span of it may reach.
const BELOW: Keyspace<(u8, u8), ()> = Keyspace::new(Family::Hot, 0xDF, "below", "test");
const ABOVE: Keyspace<(u8, u8), ()> = Keyspace::new(Family::Hot, 0xE1, "above", "test");

type Pair = (u8, u8);

#[derive(Clone, Debug)]
enum Step {
    From(Pair),
    FromFirst(u8),
    After(Pair),
    AfterAll(u8),
    Through(Pair),
    ThroughAll(u8),
    Before(Pair),
    Reversed,
}

/// Numbers at both ends, where a successor overflows.
fn number() -> impl Strategy<Value = u8> {
    prop_oneof![0_u8..3, 254_u8..=255]
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || (number(), number());
    prop_oneof![
        pair().prop_map(Step::From),
        number().prop_map(Step::FromFirst),
        pair().prop_map(Step::After),
        number().prop_map(Step::AfterAll),
        pair().prop_map(Step::Through),
        number().prop_map(Step::ThroughAll),
        pair().prop_map(Step::Before),
        Just(Step::Reversed),
    ]
}

fn narrowed(span: Span<Pair, ()>, step: &Step) -> Span<Pair, ()> {
    match step {
        Step::From(pair) => span.from(pair),
        Step::FromFirst(first) => span.from(&(*first,)),
        Step::After(pair) => span.after(pair),
        Step::AfterAll(first) => span.after(&(*first,)),
        Step::Through(pair) => span.through(pair),
        Step::ThroughAll(first) => span.through(&(*first,)),
        Step::Before(pair) => span.before(pair),
        Step::Reversed => span.reversed(),
    }
}

fn allows(step: &Step, key: Pair) -> bool {
    match step {
        Step::From(pair) => key >= *pair,
        Step::FromFirst(first) => key.0 >= *first,
        Step::After(pair) => key > *pair,
        Step::AfterAll(first) => key.0 > *first,
        Step::Through(pair) => key <= *pair,
        Step::ThroughAll(first) => key.0 <= *first,
        Step::Before(pair) => key < *pair,
        Step::Reversed => true,
    }
}

async fn filled(keys: &[Pair]) -> Store {
    let store = Store::open(Memory::new());
    let mut batch = Batch::new();
    for key in keys {
        batch.put(&PAIRS, key, &());
        batch.put(&BELOW, key, &());
        batch.put(&ABOVE, key, &());
    }
    store.commit(batch).await.unwrap();
    store
}

proptest! {
    #[test]
    fn a_span_is_what_its_steps_allow(
        keys in proptest::collection::btree_set((number(), number()), 0..20),
        first in proptest::option::of(number()),
        steps in proptest::collection::vec(step(), 0..4),
    ) {
        let keys: Vec<_> = keys.into_iter().collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let store = runtime.block_on(filled(&keys));
        let whole = first.map_or_else(|| PAIRS.span(&()), |first| PAIRS.span(&(first,)));
        let span = steps.iter().fold(whole, narrowed);
        let mut wanted: Vec<_> = keys
            .into_iter()
            .filter(|key| first.is_none_or(|first| key.0 == first) && steps.iter().all(|step| allows(step, *key)))
            .collect();
        if steps.iter().filter(|step| matches!(step, Step::Reversed)).count() % 2 == 1 {
            wanted.reverse();
        }
        let page = store.read_blocking::<_, ReadError>(|view| view.scan(&span, 3)).unwrap();
        let found: Vec<_> = page.rows.into_iter().map(|(key, ())| key).collect();
        prop_assert_eq!(page.more, wanted.len() > 3);
        wanted.truncate(3);
        prop_assert_eq!(found, wanted);
    }
}
