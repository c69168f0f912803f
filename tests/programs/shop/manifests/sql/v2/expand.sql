ALTER TABLE users ADD COLUMN full_name text;
INSERT INTO schema_version (version, phase) VALUES (2, 'expand');
