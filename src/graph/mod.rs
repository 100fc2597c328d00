//! The write side of rooms: the event graph, its state, its two orders, its log.
