"""The trainer core that every training in litetext shares: the loop, checkpoints, curves and processes."""
