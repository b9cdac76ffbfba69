"""The engine: owns partitions, claims what waits, settles it in Postgres, replies and finishes. Knows no HTTP."""
