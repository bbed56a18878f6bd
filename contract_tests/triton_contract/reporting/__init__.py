"""Reports for people: the ledger (FIDELITY.md), and the tables of the command line."""
