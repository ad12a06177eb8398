"""Measuring: speed, size, memory. Timings are ratios taken in one run, since machines are shared and noisy."""
