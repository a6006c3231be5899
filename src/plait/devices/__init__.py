"""The machine: the only room that knows an accelerator, and what this machine's operations and links were timed at."""
