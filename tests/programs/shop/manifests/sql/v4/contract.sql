ALTER TABLE users DROP COLUMN name;
INSERT INTO schema_version (version, phase) VALUES (4, 'contract');
