"""The node as a process that stays: peers, schedules and the local API, around one home."""
