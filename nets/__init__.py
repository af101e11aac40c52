"""The four networks and the recipes of their published training."""

from nets.hub import create_network, network_names, network_settings

__all__ = ["create_network", "network_names", "network_settings"]
