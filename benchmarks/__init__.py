"""What README's performance section is made with. Each prints ratios within one run, because machines are noisy."""
