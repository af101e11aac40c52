"""What is raised where programs end."""


class Untraceable(Exception):
    """Raised where a cell does something that the programs cannot run; the cell then stays as it is."""


class UntraceableEnds(Untraceable):
    """What a part is given or returns is nothing that a program can have, whatever is between."""
