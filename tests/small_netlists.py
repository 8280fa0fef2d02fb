"""Netlists of a few cells of sky130hd, written by hand, and what follows from them by hand."""

import numpy as np

from hwsim.analysis import netlist_reader, power, timing

INV, NAND = "sky130_fd_sc_hd__inv_2", "sky130_fd_sc_hd__nand2_1"


def module(inputs, outputs, cells):
    """What Yosys writes of a module: ports {name: [bits]}, cells {name: (type, {pin: [bits]})}."""
    ports = {n: {"direction": "input", "bits": b} for n, b in inputs.items()}
    ports |= {n: {"direction": "output", "bits": b} for n, b in outputs.items()}
    return {
        "ports": ports,
        "cells": {n: {"type": t, "connections": c} for n, (t, c) in cells.items()},
        "netnames": {n: {"hide_name": 0, "bits": p["bits"]} for n, p in ports.items()},
    }


def netlist_of(library, cells, inputs, outputs):
    """A netlist of one module; cells {name: (type, {pin: bit})}."""
    cells = {n: (kind, {pin: [bit] for pin, bit in pins.items()}) for n, (kind, pins) in cells.items()}
    return netlist_reader.build({"top": module(inputs, outputs, cells)}, "top", library)


def inverter_power(library, rate):
    """Power of one inverter whose input toggles ``rate`` times a cycle of 5 ns."""
    netlist = netlist_of(library, {"g": (INV, {"A": 2, "Y": 3})}, {"a": [2]}, {"y": [3]})
    loads = netlist.loads(wire_load=False)
    timed = timing.analyse(netlist, 5.0, loads)
    return power.energies(netlist, timed, loads, np.full(2, rate), np.full(2, 0.5)).power(5.0)
