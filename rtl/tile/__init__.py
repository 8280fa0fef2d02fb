"""The tile of a tensor core: what MMA units of all formats are made of."""
