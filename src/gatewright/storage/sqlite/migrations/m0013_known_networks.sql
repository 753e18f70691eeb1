-- Finds the networks that an account has used, ended sessions included.
CREATE INDEX sessions_by_network ON sessions (account_id, network, last_activity);
