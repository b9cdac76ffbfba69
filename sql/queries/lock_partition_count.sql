-- Until the end of the transaction nobody reads the partition count: who is at work has read it, who comes reads the new.
LOCK TABLE settings IN ACCESS EXCLUSIVE MODE
