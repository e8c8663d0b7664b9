"""Variational autoencoder (Kingma & Welling 2014)."""
