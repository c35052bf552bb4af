"""The processes around the loops: a supervisor that never runs user code, a zygote that forks loops, the loops."""
