//! Accounts, devices, tokens, profiles, account data, filters, push rules of local users.
