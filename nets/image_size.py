"""Image sizes: the least that a network works with, and what a stride of two leaves of one."""


def at_least(smallest, image_size, net):
    """Returns `image_size`; ValueError when it is no whole number or under `smallest` pixels."""
    if isinstance(image_size, bool) or not isinstance(image_size, int) or image_size < smallest:
        raise ValueError(
            f"image_size={image_size!r} cannot work for {net}: give a whole number of pixels, {smallest} or more"
        )
    return image_size


def halved(size):
    """Returns the extent behind a stride of two with `same` padding: half, rounded up."""
    return (size + 1) // 2
