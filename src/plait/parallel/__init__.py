"""The transforms: a plain model, cut along every axis of a mesh, and the steps that keep it one model."""
