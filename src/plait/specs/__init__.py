"""What you have: the model, the cluster, the training, the data, and a job that holds them."""
