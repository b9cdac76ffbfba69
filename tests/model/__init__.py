"""The running service against a sequential model of it: whatever is asked, both must say the same."""
