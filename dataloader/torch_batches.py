"""Batches for PyTorch."""


class TorchBatches:
    """A loader's batches as torch tensors (images, labels, weights), without a copy: valid until the next one is asked
    for. labels are int64, as torch's losses want them; with mixup or CutMix float32, the share of each class.
    With fields a fourth part is their dict.

    pin_memory: copies, into page-locked memory where CUDA is, from which the transfer to a GPU needs not be waited
    for; such tensors stay valid. Iterating goes through the epoch that `set_epoch` chose, then the next one begins. It
    may be given to `torch.utils.data.DataLoader(batches, batch_size=None)`, as an IterableDataset, or used as it is.
    """

    def __init__(self, loader, pin_memory=False):
        import torch

        torch.utils.data.IterableDataset.register(TorchBatches)
        self.loader, self.pin_memory, self.epoch = loader, pin_memory, 0

    def set_epoch(self, epoch):
        """Chooses the epoch that the next iteration goes through."""
        self.epoch = epoch

    def __len__(self):
        return len(self.loader)

    def __iter__(self):
        import torch

        epoch, self.epoch = self.epoch, self.epoch + 1
        for batch in self.loader.epoch(epoch):
            images, labels, weights = (torch.from_numpy(array) for array in tuple(batch)[:3])
            labels = labels if batch.shares is not None else labels.long()
            tensors = {"images": images, "labels": labels, "weights": weights}
            tensors |= {name: torch.from_numpy(array) for name, array in batch.fields.items()}
            if self.pin_memory:
                copied = torch.Tensor.pin_memory if torch.cuda.is_available() else torch.clone
                tensors = {name: copied(tensor) for name, tensor in tensors.items()}
            found = tuple(tensors.pop(name) for name in ("images", "labels", "weights"))
            yield (*found, tensors) if tensors else found
