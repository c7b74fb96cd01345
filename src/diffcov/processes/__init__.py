"""Several processes that work as one: torchrun starts them, everything else is as with one."""
