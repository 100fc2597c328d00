//! The HTTP edge: dispatch, routes, extraction, replies; one file knows actix.
