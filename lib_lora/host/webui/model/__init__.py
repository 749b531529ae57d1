"""The live model of each kind of host as a `LoadedModel`."""
