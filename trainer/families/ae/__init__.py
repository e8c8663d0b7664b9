"""Autoencoder: the baseline of BiGAN's table (Donahue et al. 2017), AE(l2) and AE(l1)."""
