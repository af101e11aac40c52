"""What is kept and shown when a loss is not finite."""
