"""Analysis of trained models: baselines, comparisons, gradients, states, pictures and pages."""
