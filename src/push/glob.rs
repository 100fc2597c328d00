//! Globs: `*` stands for any characters, `?` for one; case is ignored. In time proportional to the text, whatever the
//! pattern.

/// A glob, prepared.
#[derive(Clone, Debug)]
pub(super) struct Glob {
    /// In lower case, runs of stars made one.
    parts: Vec<Part>,
    /// The same as a text, if there is no wildcard in it.
    literal: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Char(char),
    Any,
    Many,
}

/// A text to look in, prepared once for many globs.
#[derive(Clone, Debug)]
pub(super) struct Text {
    lower: String,
}

impl Text {
    pub(super) fn new(text: &str) -> Self {
        Self { lower: text.to_lowercase() }
    }
}

/// How many steps an evaluation may still take; what does not fit does not match.
#[derive(Debug)]
pub(super) struct Budget(pub(super) u64);

impl Budget {
    fn take(&mut self, steps: usize) -> bool {
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        let enough = self.0 >= steps;
        self.0 = self.0.saturating_sub(steps);
        enough
    }
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || char == '_'
}

/// Whether a word may begin or end between two characters.
fn is_boundary(before: Option<char>, after: Option<char>) -> bool {
    !(before.is_some_and(is_word) && after.is_some_and(is_word))
}

impl Glob {
    pub(super) fn new(pattern: &str) -> Self {
        let lower = pattern.to_lowercase();
        let mut parts: Vec<Part> = lower
            .chars()
            .map(|char| match char {
                '*' => Part::Many,
                '?' => Part::Any,
                char => Part::Char(char),
            })
            .collect();
        parts.dedup_by(|left, right| *left == Part::Many && *right == Part::Many);
        let literal = parts.iter().all(|part| matches!(part, Part::Char(_))).then_some(lower);
        Self { parts, literal }
    }

    /// A text as it is, without wildcards.
    pub(super) fn literal(text: &str) -> Self {
        let lower = text.to_lowercase();
        Self { parts: Vec::new(), literal: Some(lower) }
    }

    /// Whether it is the whole text.
    pub(super) fn is_all_of(&self, text: &Text, budget: &mut Budget) -> bool {
        match &self.literal {
            Some(literal) => *literal == text.lower,
            None => self.run(&text.lower, Anchor::Ends, budget),
        }
    }

    /// Whether it is a part of the text that begins and ends at word boundaries.
    pub(super) fn is_words_of(&self, text: &Text, budget: &mut Budget) -> bool {
        match &self.literal {
            Some(literal) if literal.is_empty() => text.lower.is_empty(),
            Some(literal) => budget.take(text.lower.len()) && has_words(&text.lower, literal),
            None => self.run(&text.lower, Anchor::Words, budget),
        }
    }

    /// Walks through the text once with the set of all places in the pattern that one can be at.
    fn run(&self, text: &str, anchor: Anchor, budget: &mut Budget) -> bool {
        if !budget.take(text.len().saturating_mul(self.parts.len().div_ceil(16))) {
            return false;
        }
        let mut places = Places::new(self.parts.len());
        let mut before = None;
        let mut chars = text.chars();
        loop {
            let after = chars.clone().next();
            let may_turn = match anchor {
                Anchor::Ends => (before.is_none(), after.is_none()),
                Anchor::Words => (is_boundary(before, after), is_boundary(before, after)),
            };
            if may_turn.0 {
                places.enter(&self.parts, 0);
            }
            if may_turn.1 && places.finished() {
                return true;
            }
            let Some(char) = chars.next() else { return false };
            places.advance(&self.parts, char);
            before = Some(char);
        }
    }
}

#[derive(Clone, Copy)]
enum Anchor {
    Ends,
    Words,
}

/// The places in a pattern that one can be at: `true` at `n` when the first `n` parts have been seen.
struct Places {
    now: Vec<bool>,
    next: Vec<bool>,
}

impl Places {
    fn new(parts: usize) -> Self {
        Self { now: vec![false; parts + 1], next: vec![false; parts + 1] }
    }

    fn finished(&self) -> bool {
        self.now.last().copied().unwrap_or(false)
    }

    /// Comes to `place`, and past a star that stands there.
    fn enter(&mut self, parts: &[Part], place: usize) {
        Self::mark(&mut self.now, parts, place);
    }

    fn mark(places: &mut [bool], parts: &[Part], place: usize) {
        if let Some(here) = places.get_mut(place) {
            *here = true;
        }
        if parts.get(place) == Some(&Part::Many)
            && let Some(behind) = places.get_mut(place + 1)
        {
            *behind = true;
        }
    }

    fn advance(&mut self, parts: &[Part], char: char) {
        self.next.fill(false);
        for (place, (part, here)) in parts.iter().zip(&self.now).enumerate() {
            if !here {
                continue;
            }
            match part {
                Part::Many => Self::mark(&mut self.next, parts, place),
                Part::Any => Self::mark(&mut self.next, parts, place + 1),
                Part::Char(wanted) if *wanted == char => Self::mark(&mut self.next, parts, place + 1),
                Part::Char(_) => {}
            }
        }
        std::mem::swap(&mut self.now, &mut self.next);
    }
}

fn has_words(text: &str, words: &str) -> bool {
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find(words)) {
        let (start, end) = (from + found, from + found + words.len());
        let (head, tail) = (text.get(..start).unwrap_or_default(), text.get(end..).unwrap_or_default());
        let begins = is_boundary(head.chars().next_back(), words.chars().next());
        if begins && is_boundary(words.chars().next_back(), tail.chars().next()) {
            return true;
        }
        from = start + words.chars().next().map_or(1, char::len_utf8);
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(pattern: &str, text: &str) -> bool {
        Glob::new(pattern).is_all_of(&Text::new(text), &mut Budget(u64::MAX))
    }

    fn words(pattern: &str, text: &str) -> bool {
        Glob::new(pattern).is_words_of(&Text::new(text), &mut Budget(u64::MAX))
    }

    #[test]
    fn whole_texts() {
        for (pattern, text, right) in [
            ("lunc?*", "Lunch plans", true),
            ("lunc?*", "LUNCH", true),
            ("lunc?*", " lunch", false),
            ("lunc?*", "lunc", false),
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("***", "any", true),
            ("a*b*c", "axxbyyc", true),
            ("a*b*c", "axxbyycd", false),
            ("ÄÖ?", "äöü", true),
            ("m.room.*", "m.room.message", true),
            ("m.room.", "m.room.message", false),
        ] {
            assert_eq!(all(pattern, text), right, "{pattern:?} ~ {text:?}");
        }
    }

    #[test]
    fn words_of_a_text() {
        for (pattern, text, right) in [
            ("ex*ple", "An example event.", true),
            ("ex*ple", "exple", true),
            ("ex*ple", "An exciting triple-whammy", true),
            ("ex*ple", "examples", false),
            ("cake", "a piece of CAKE!", true),
            ("cake", "cakes", false),
            ("cake", "cheesecake", false),
            ("cake", "cheesecake cake", true),
            ("cake", "cake_", false),
            ("@room", "hi@room", true),
            ("c++", "I like c++.", true),
            ("cak?", "cake", true),
            ("?", "a", true),
            ("?", "ab", false),
            ("", "", true),
            ("", "a", false),
            ("ça", "ça va", true),
        ] {
            assert_eq!(words(pattern, text), right, "{pattern:?} in {text:?}");
        }
    }

    #[test]
    fn hostile_patterns_cost_little_and_nothing_overflows() {
        let text = Text::new(&"xa ".repeat(20_000));
        for pattern in ["a", &"*a".repeat(500), &"?".repeat(1_000), &"a*".repeat(500)] {
            let (glob, mut budget) = (Glob::new(pattern), Budget(10_000_000));
            glob.is_words_of(&text, &mut budget);
            assert!(!glob.is_words_of(&text, &mut Budget(0)), "what does not fit does not match");
        }
    }

    proptest! {
        #[test]
        fn like_the_obvious_definition(pattern in "[ab_ ?*]{0,6}", text in "[ab_ ]{0,8}") {
            fn naive(pattern: &[char], text: &[char]) -> bool {
                match (pattern, text) {
                    ([], []) => true,
                    (['*', rest @ ..], _) => naive(rest, text) || (!text.is_empty() && naive(pattern, &text[1..])),
                    (['?', rest @ ..], [_, tail @ ..]) => naive(rest, tail),
                    ([char, rest @ ..], [first, tail @ ..]) => char == first && naive(rest, tail),
                    _ => false,
                }
            }
            let (p, t): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
            prop_assert_eq!(all(&pattern, &text), naive(&p, &t));
            let boundary = |at: usize| is_boundary(at.checked_sub(1).map(|i| t[i]), t.get(at).copied());
            let found = (0..=t.len()).any(|i| (i..=t.len()).any(|j| boundary(i) && boundary(j) && naive(&p, &t[i..j])));
            if !pattern.is_empty() {
                prop_assert_eq!(words(&pattern, &text), found);
            }
        }
    }
}
