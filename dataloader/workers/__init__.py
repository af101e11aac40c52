"""The processes that make batches, and the memory that they share."""
