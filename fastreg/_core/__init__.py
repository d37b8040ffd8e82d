"""The compiled core: the table of kernels, their public doors and the engine."""
