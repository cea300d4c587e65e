"""The HTTP interface: schemas, dependencies, parameters, streams."""
