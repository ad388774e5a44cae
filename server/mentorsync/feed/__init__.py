"""The live feed: the present state, then every change after it, from any point on."""
