"""How each program names its tensors: one module for each family, all of them functions from values to `Imported`."""
