"""DCGAN (Radford et al. 2016): all-convolutional generator and discriminator."""
