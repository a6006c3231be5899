"""The commands: one file each, imported when it is called; what they share stands in `output`."""
