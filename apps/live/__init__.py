"""The live run: a source, the model, any number of sinks, and each survives the failures of the others."""
