"""What quantisation engines are made of: maxima of blocks, lanes that compare magnitudes with thresholds."""
