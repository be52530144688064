"""Simple models on the very same data: what a recurrent net has to beat."""

BASELINES = {}
