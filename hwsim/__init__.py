"""Tools that simulate, prove, synthesise and measure the units in ``rtl`` against ``golden``."""
