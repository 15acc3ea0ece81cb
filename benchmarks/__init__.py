"""How much a sample costs, beside vmagent and a plainly written pipeline: `make bench`."""
