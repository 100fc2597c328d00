//! Verbs that cross several of the modules below, one a file.
