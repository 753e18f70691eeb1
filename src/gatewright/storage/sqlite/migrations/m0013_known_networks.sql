-- Finds the networks used by an account, including in ended sessions.
CREATE INDEX sessions_by_network ON sessions (account_id, network, last_activity);
