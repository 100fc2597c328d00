//! Matrix events, pure: no I/O, no clock, nothing asynchronous.
