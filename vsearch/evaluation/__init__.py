"""Measuring encoders: labels, measures, baselines to beat, and contestants side by side (``comparison``)."""
