"""MLflow, TensorBoard and traces."""
