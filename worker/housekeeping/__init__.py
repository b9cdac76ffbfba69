"""The jobs of the housekeeping, each idempotent, each run recorded; none is needed while nothing goes wrong."""
