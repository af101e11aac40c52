"""Files written whole or not at all, and what made them."""
