"""The vocabulary that gateway and worker both speak: commands, operations, money, keys, streams, database, settings."""
