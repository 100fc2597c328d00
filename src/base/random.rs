//! Randomness: the operating system's, or a seeded stream that a test can repeat.

use std::sync::Arc;

use parking_lot::Mutex;

/// Where random bytes come from. Cheap to clone; every clone draws from the same stream.
#[derive(Clone, Debug)]
pub struct Random(Arc<Source>);

#[derive(Debug)]
enum Source {
    System,
    Seeded(Mutex<blake3::OutputReader>),
}

const ALPHANUMERIC: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

impl Random {
    /// The operating system's cryptographic generator.
    pub fn system() -> Self {
        Self(Arc::new(Source::System))
    }

    /// A repeatable stream. For tests and simulations only.
    pub fn seeded(seed: u64) -> Self {
        let reader = blake3::Hasher::new().update(&seed.to_be_bytes()).finalize_xof();
        Self(Arc::new(Source::Seeded(Mutex::new(reader))))
    }

    /// Fills `out` with random bytes.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing secure can be done without it.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that asks the system for randomness")]
    #[expect(
        clippy::expect_used,
        reason = "the kernel's generator does not fail once the machine is up; nothing is safe without it"
    )]
    pub fn fill(&self, out: &mut [u8]) {
        match &*self.0 {
            Source::System => getrandom::fill(out).expect("the operating system gives randomness"),
            Source::Seeded(reader) => reader.lock().fill(out),
        }
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.fill(&mut out);
        out
    }

    /// A random number, uniform over all of `u64`.
    pub fn u64(&self) -> u64 {
        u64::from_be_bytes(self.bytes())
    }

    /// A string of `length` letters and digits (5.95 bits of entropy a character, without bias).
    pub fn alphanumeric(&self, length: usize) -> String {
        let mut out = String::with_capacity(length);
        while out.len() < length {
            for byte in self.bytes::<32>() {
                // 248 = 4 * 62: bytes above would make some letters likelier than others.
                let letter = ALPHANUMERIC.get(usize::from(byte % 62)).filter(|_| byte < 248 && out.len() < length);
                out.extend(letter.map(|letter| char::from(*letter)));
            }
        }
        out
    }
}
