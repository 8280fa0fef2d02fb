"""How fast, how busy, how hungry is a netlist? Timing, switching activity and power."""
