"""What a kind of layer has to say to each pass of the compiler."""


class Kind:
    """One object for each kind of layer; a pass calls the method that has its name, and knows nothing else of kinds."""

    name = ""
    same_size = False  # the result has the height and width of the first input

    def channels(self, layer):
        """Returns the channels of a traced layer's result, or None where they are not known."""
        return layer.inputs[0].channels

    def flat(self, layer):
        """True if a traced layer's result is (N, C)."""
        return layer.inputs[0].flat

    def reads_plain(self, layer):
        """True if a traced layer takes images as the framework has them, (N, C, H, W)."""
        return False

    def changes_parameters(self, layer):
        """True if a traced layer has an effect beside its result."""
        return False

    def saved_words(self, stored):
        """Returns how many numbers the forward leaves for the backward, beside the stored tensor."""
        return 0

    def flops(self, stored):
        """Returns the multiplications and additions that the cost rule counts for a stored tensor of one image."""
        return 0.0

    def lower(self, tensors, layer, *values):
        """Returns the result of a traced layer: a View or a Deferred; values: those of its inputs."""
        raise NotImplementedError

    def folded(self, stored):
        """Returns the View that a stored tensor of this kind holds in an evaluation in place of its own, or None."""
        return None

    def forward(self, plan, stored):
        """Adds the operations that write a stored tensor of this kind."""
        raise NotImplementedError

    def backward(self, plan, stored):
        """Adds the operations that hand the gradient of a stored tensor of this kind on to what it was computed
        from.
        """
        raise NotImplementedError
