INSERT INTO schema_version (version, phase) VALUES (2, 'backfill'), (3, 'expand');
