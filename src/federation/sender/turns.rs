//! Whose turn it is: servers that answer wait behind none that do not.

use std::collections::VecDeque;

use ruma::{OwnedServerName, ServerName};

/// Among whom a server waits for its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// It answered the last time.
    Answers,
    /// It did not, but has sent a request since.
    Lives,
    /// It did not.
    Fails,
}

impl Class {
    const ALL: [Self; 3] = [Self::Answers, Self::Lives, Self::Fails];

    /// Transactions that are on their way at once.
    const fn most(self) -> usize {
        match self {
            Self::Answers => 512,
            Self::Lives | Self::Fails => 64,
        }
    }
}

/// Those that may be sent something now, in their turn, and how many are being sent something.
#[derive(Debug, Default)]
pub(super) struct Turns {
    answers: Line,
    lives: Line,
    fails: Line,
}

#[derive(Debug, Default)]
struct Line {
    waiting: VecDeque<OwnedServerName>,
    on_the_way: usize,
}

impl Turns {
    /// A server waits from now on.
    pub(super) fn list(&mut self, server: &ServerName, class: Class) {
        self.line(class).waiting.push_back(server.to_owned());
    }

    /// Takes out the next one for which there is a place.
    pub(super) fn next(&mut self) -> Option<(OwnedServerName, Class)> {
        Class::ALL.into_iter().find_map(|class| {
            let line = self.line(class);
            let server = if line.on_the_way < class.most() { line.waiting.pop_front() } else { None };
            Some((server?, class))
        })
    }

    /// A transaction is on its way.
    pub(super) fn begin(&mut self, class: Class) {
        self.line(class).on_the_way += 1;
    }

    /// It has come to its end.
    pub(super) fn end(&mut self, class: Class) {
        let line = self.line(class);
        line.on_the_way = line.on_the_way.saturating_sub(1);
    }

    /// How many are on their way.
    pub(super) fn on_the_way(&self) -> usize {
        [&self.answers, &self.lives, &self.fails].iter().map(|line| line.on_the_way).sum()
    }

    fn line(&mut self, class: Class) -> &mut Line {
        match class {
            Class::Answers => &mut self.answers,
            Class::Lives => &mut self.lives,
            Class::Fails => &mut self.fails,
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::server_name;

    use super::*;

    #[test]
    fn each_class_has_its_places() {
        let (mut turns, server) = (Turns::default(), server_name!("a"));
        for _ in 0..100 {
            Class::ALL.into_iter().for_each(|class| turns.list(server, class));
        }
        let mut begun = Vec::new();
        while let Some((_, class)) = turns.next() {
            turns.begin(class);
            begun.push(class);
        }
        let count = |wanted| begun.iter().filter(|class| **class == wanted).count();
        assert_eq!(Class::ALL.map(count), [100, 64, 64]);
        turns.end(Class::Fails);
        assert_eq!((turns.next(), turns.on_the_way()), (Some((server.to_owned(), Class::Fails)), 227));
    }
}
