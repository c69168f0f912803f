ALTER TABLE users ALTER COLUMN name SET DEFAULT '';
INSERT INTO schema_version (version, phase) VALUES (4, 'expand');
