"""Is it right, for all inputs? Proofs, co-simulation, mutation, comparison in bulk."""
