"""The tests of ipvm-lite; a package so that tests can share support modules."""
