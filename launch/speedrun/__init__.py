"""Time to accuracy: a small network, trained from files on disk to a target, by this project and by PyTorch."""
