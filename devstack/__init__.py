"""Postgres and Redis as child processes, for `make up` and for the tests. Never imported by the service.

Guarantees that nothing outlives the Python process that started it, however that process ends. For Linux; uses the
standard library only, and python-dotenv for `.env`; the Cluster, which `make up` has no use for, redis-py.
"""
