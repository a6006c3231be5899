"""What a model is made of, as data: a list of layers, each with its weights, its values and its costs."""
