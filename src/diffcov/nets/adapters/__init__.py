"""Networks of published families, one file a family: each builds the network that its published weights belong to."""

ADAPTERS = (
    "diffcov.nets.adapters.diffusers_unet:build",
    "diffcov.nets.adapters.edm:build",
    "diffcov.nets.adapters.lucidrains:build",
)
"""Builders that need nobody's trust: they build one known network, whatever arguments a file names."""
SCRIPTED, EXPORTED = "diffcov.nets.adapters.scripted:build", "diffcov.nets.adapters.exported:build"
PROGRAMS = {SCRIPTED: "torchscript", EXPORTED: "torch-export"}
"""The builders of programs, which do, and how the program that they load is called."""
