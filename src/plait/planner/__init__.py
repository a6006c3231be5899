"""Choosing: what a plan costs in FLOPs, bytes and seconds, and which of all legal plans costs the fewest."""
