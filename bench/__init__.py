"""The promises about speed, measured as ratios within one run."""
