ALTER TABLE users ALTER COLUMN name DROP NOT NULL;
INSERT INTO schema_version (version, phase) VALUES (4, 'expand');
