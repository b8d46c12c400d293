"""The role `ledger`: folds the log into the projections, and announces how runs ended."""
