"""Networks of published families, one file a family: each builds the network that its published weights belong to."""

ADAPTERS = (
    "diffcov.nets.adapters.diffusers_unet:build",
    "diffcov.nets.adapters.edm:build",
    "diffcov.nets.adapters.lucidrains:build",
)
"""Builders that need nobody's trust: they build one known network, whatever arguments a file names."""
SCRIPTED = "diffcov.nets.adapters.scripted:build"
"""The builder of programs, which do."""
