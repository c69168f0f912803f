ALTER TABLE users ADD COLUMN full_name text;
ALTER TABLE users DROP COLUMN name;
UPDATE users SET full_name = 'unknown';
CREATE TABLE plans (id bigint PRIMARY KEY, name text);
CREATE INDEX plans_name ON plans (name);
DO $$ BEGIN PERFORM tidy_up(); END $$;
