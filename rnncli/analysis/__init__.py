"""Looking at trained models: baselines to hold them against, and pictures."""
