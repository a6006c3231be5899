"""Learning: the optimizer, the learning rate, one step, and the trainer that repeats it."""
