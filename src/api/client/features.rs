//! The table of versions and experimental features that `/versions` tells of.

/// The versions of the specification that clients may count on.
pub(super) const VERSIONS: [&str; 19] = [
    "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12", "v1.13",
    "v1.14", "v1.15", "v1.16", "v1.17", "v1.18", "v1.19",
];

/// What works here beside those versions, or under a name that clients looked for before it was in one.
pub(super) const UNSTABLE: [(&str, bool); 5] = [
    // Private read receipts.
    ("org.matrix.msc2285.stable", true),
    // Receipts of threads.
    ("org.matrix.msc3771", true),
    // Any field of a profile.
    ("uk.tcpip.msc4133", true),
    ("uk.tcpip.msc4133.stable", true),
    // Redactions through `/send`.
    ("com.beeper.msc4169", true),
];
