"""The instructions that the framework's own convolutions may use."""


def limit_stock_instructions(network):
    """Keeps convolutions that no kernel of ours runs from oneDNN's reference loops, if the user has set no limit.

    The framework hands oneDNN plain NCHW, for which its AVX-512 build has compiled loops in some directions only.
    """
    from cellwright.kernels.csrc import limit_stock

    limit_stock(network)
