"""The networks, plain: single-device PyTorch with replaceable slots. It knows no rank, no group, no mesh, no plan."""
