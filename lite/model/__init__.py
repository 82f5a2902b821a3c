"""Instructions, results and receipts: values only, no I/O."""
